"""XMP reader: parse named properties out of an untrusted packet, in bounded time and memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from .vocabulary import MAX_TEXT_CHARACTERS, RDF

MAX_XMP_BYTES = 1024 * 1024
MAX_ELEMENTS = 20_000
MAX_DEPTH = 64

_SEPARATOR = " "
ROOT, DESCRIPTION = f"{RDF}{_SEPARATOR}RDF", f"{RDF}{_SEPARATOR}Description"


class XmpError(ValueError):
    """The packet is damaged, too large, or declares a document type."""


@dataclass(slots=True)
class Node:
    """A parsed value: an element with its attributes, its text and its children. Names are `namespace name`."""

    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    text: str = ""
    children: list[Node] = field(default_factory=list)


_ENCODINGS = (
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"<\0\0\0", "utf-32-le"),
    (b"\0\0\0<", "utf-32-be"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
"""First bytes of packets that are not in UTF-8 (XMP specification, part 1, 7.1)."""


def to_utf8(packet: bytes) -> bytes:
    """Convert a packet to UTF-8 without padding. Of a damaged one, remove the zeros."""
    encoding = next((encoding for start, encoding in _ENCODINGS if packet.startswith(start)), "")
    if encoding:
        try:
            packet = packet.decode(encoding).encode()
        except UnicodeError:
            packet = packet.replace(b"\0", b"")
    return packet.strip(b"\0 \t\r\n")


def parse_properties(packet: bytes, wanted: Callable[[str], bool], limit: int = MAX_XMP_BYTES) -> list[Node]:
    """Return the properties of a packet in UTF-8 whose name (`namespace name`) is `wanted`, in its order.

    Only properties of the image itself count: those directly in an rdf:Description of the packet's rdf:RDF. The same
    names deeper inside describe its ingredients or versions.

    Raises:
        XmpError: the packet is damaged, or has more than `limit` bytes.
    """
    if len(packet) > limit:
        raise XmpError(f"the XMP packet has more than {limit:,} bytes")
    from xml.parsers import expat

    handler = _Handler(wanted)
    parser = expat.ParserCreate("utf-8", _SEPARATOR)
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.StartElementHandler = handler.start
    parser.EndElementHandler = handler.end
    parser.CharacterDataHandler = handler.characters
    try:
        parser.Parse(packet, True)
    except expat.ExpatError as error:
        raise XmpError(str(error)) from error
    return handler.found


def _refuse(*_: object) -> NoReturn:
    """Refuse document types: they declare entities, which can expand without bound."""
    raise XmpError("the XMP packet declares a document type or an entity")


class _Handler:
    """Handler of the parser's events: record the elements of wanted properties."""

    def __init__(self, wanted: Callable[[str], bool]) -> None:
        """Start outside of any element."""
        self.wanted = wanted
        self.found: list[Node] = []
        self.path: list[str] = []
        self.open: list[Node] = []
        self.elements = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Open an element."""
        self.elements += 1
        if self.elements > MAX_ELEMENTS or len(self.path) >= MAX_DEPTH:
            raise XmpError("the XMP packet has too many elements, or is nested too deeply")
        if self.open:
            node = Node(name, attributes)
            self.open[-1].children.append(node)
            self.open.append(node)
        elif self.path[-2:] == [ROOT, DESCRIPTION] and len(self.path) <= 3 and self.wanted(name):
            node = Node(name, attributes)
            self.found.append(node)
            self.open.append(node)
        elif name == DESCRIPTION and self.path[-1:] == [ROOT] and len(self.path) <= 2:
            self.found += [Node(key, text=text) for key, text in attributes.items() if self.wanted(key)]
        self.path.append(name)

    def end(self, name: str) -> None:
        """Close an element."""
        self.path.pop()
        if self.open:
            self.open.pop()

    def characters(self, text: str) -> None:
        """Add text to the open element, up to a little more than a value may have."""
        if self.open and len(self.open[-1].text) <= MAX_TEXT_CHARACTERS * 2:
            self.open[-1].text += text[: MAX_TEXT_CHARACTERS * 4]
