"""XMP packet: write checked properties into a new packet. Nothing of the source's packet is copied."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from .vocabulary import (
    LABEL,
    LABEL_SHAPE,
    MAX_ITEMS,
    MAX_PACKET_BYTES,
    MAX_TEXT_CHARACTERS,
    NAMESPACES,
    RDF,
    RIGHTS,
    XML,
    Shape,
)
from .xmp_reader import DESCRIPTION, Node

_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8}){0,4}")
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML cannot hold (XML 1.0, 2.2). Texts of IPTC-IIM may have them."""

_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})
_CONTAINERS = frozenset({f"{RDF} Alt", f"{RDF} Seq", f"{RDF} Bag"})
DEFAULT_LANGUAGE = "x-default"


class PropertyError(ValueError):
    """The value of a property is invalid, too long, or of another shape."""


def serialize(name: str, node: Node) -> str:
    """Return a property as an element for `build_packet`; empty when it has no value.

    Raises:
        PropertyError: the value is invalid.
    """
    shape = LABEL_SHAPE if name == LABEL else RIGHTS[name]
    if shape.container:
        items = list(_serialized_items(name, node, shape))
        inner = f"<rdf:{shape.container}>{''.join(items)}</rdf:{shape.container}>" if items else ""
    elif shape.fields:
        inner = _serialized_fields(name, node, shape)
        return f'<{name} rdf:parseType="Resource">{inner}</{name}>' if inner else ""
    else:
        inner = _checked_text(node, shape)
        if inner and shape.resource:
            return f"<{name} rdf:resource={_quoted(inner)}/>"
        inner = _escaped(inner.capitalize() if name == "xmpRights:Marked" else inner)
    return f"<{name}>{inner}</{name}>" if inner else ""


def build_packet(elements: Sequence[str]) -> bytes:
    """Build an XMP packet of elements.

    An element with a prefix that is not in `NAMESPACES` declares it itself.
    """
    body = "".join(elements)
    declared = "".join(f' xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items() if f"<{prefix}:" in body)
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f'<rdf:RDF xmlns:rdf="{RDF}"><rdf:Description rdf:about=""{declared}>{body}</rdf:Description></rdf:RDF>'
        '</x:xmpmeta><?xpacket end="r"?>'
    ).encode()


def fit_elements(elements: Sequence[str]) -> list[str]:
    """Return the first elements that fit into a packet of `MAX_PACKET_BYTES`."""
    fitted = list(elements)
    while fitted and len(build_packet(fitted)) > MAX_PACKET_BYTES:
        fitted.pop()
    return fitted


def _serialized_items(name: str, node: Node, shape: Shape) -> Iterator[str]:
    """Yield the items of an array, or a single value as its only item."""
    items = _items(node)
    if len(items) > MAX_ITEMS:
        raise PropertyError(f"{name} has more than {MAX_ITEMS} values")
    if shape.container == "Alt":
        yield from _serialized_languages(name, items)
        return
    for item in items:
        if shape.fields:
            fields = _serialized_fields(name, item, shape)
            if fields:
                yield f'<rdf:li rdf:parseType="Resource">{fields}</rdf:li>'
        elif text := _checked_text(item, shape):
            yield f"<rdf:li>{_escaped(text)}</rdf:li>"


def _serialized_languages(name: str, items: Sequence[Node]) -> Iterator[str]:
    """Yield the texts of a property by language, the default first."""
    texts: dict[str, str] = {}
    for item in items:
        language, text = item.attributes.get(f"{XML} lang", DEFAULT_LANGUAGE), _checked_text(item, Shape())
        if not _LANGUAGE.fullmatch(language) or texts.setdefault(language, text) != text:
            raise PropertyError(f"{name} has an invalid language, or two texts in one")
    for language in sorted(texts, key=lambda language: language != DEFAULT_LANGUAGE):
        if texts[language]:
            yield f'<rdf:li xml:lang="{language}">{_escaped(texts[language])}</rdf:li>'


def _serialized_fields(name: str, node: Node, shape: Shape) -> str:
    """Return the named fields of a structure, which is written as elements, as attributes or as an rdf:Description."""
    prefix = name.partition(":")[0]
    holders = [node, *(child for child in node.children if child.name == DESCRIPTION)]
    parts = []
    for field in shape.fields:
        key = f"{NAMESPACES[prefix]} {field}"
        found = {holder.attributes[key].strip() for holder in holders if key in holder.attributes}
        found |= {_checked_text(child, Shape()) for holder in holders for child in holder.children if child.name == key}
        if len(found) > 1:
            raise PropertyError(f"the values of {field} contradict each other")
        texts = filter(None, map(_limited, found))
        parts += [f"<{prefix}:{field}>{_escaped(text)}</{prefix}:{field}>" for text in texts]
    return "".join(parts)


def _items(node: Node) -> list[Node]:
    """Return the items of an array, or the value itself."""
    for child in node.children:
        if child.name in _CONTAINERS:
            return [item for item in child.children if item.name == f"{RDF} li"]
    return [node]


def _checked_text(node: Node, shape: Shape) -> str:
    """Return the text of a value: of the element, its rdf:resource, its rdf:value, or its only item.

    Raises:
        PropertyError: it is no text, too long, or does not match the pattern of `shape`.
    """
    text = node.attributes.get(f"{RDF} resource", node.text).strip()
    if node.children:
        values = [child for child in node.children if child.name == f"{RDF} value"] or _items(node)
        if len(values) != 1 or values[0] is node:
            raise PropertyError(f"{node.name} is not one text")
        text = values[0].text.strip()
    if text and shape.pattern and not shape.pattern.fullmatch(text):
        raise PropertyError(f"{node.name} has an unknown value")
    return _limited(text)


def _limited(text: str) -> str:
    """Return `text`, unless it is too long or has characters that XML cannot hold."""
    if len(text) > MAX_TEXT_CHARACTERS or _NO_XML.search(text):
        raise PropertyError(f"a text has more than {MAX_TEXT_CHARACTERS:,} characters, or control characters")
    return text


def _quoted(text: str) -> str:
    """Return a text without white space as the value of an attribute."""
    return '"' + _escaped(text).replace('"', "&quot;") + '"'


def _escaped(text: str) -> str:
    """Escape a text, also carriage returns, which parsers would change.

    The functions of `xml.sax.saxutils` would cost each session 0.1 s, because that module imports `urllib.request`.
    """
    return text.translate(_ESCAPES)
