"""Properties that a rendition may keep: read them from the packets of a source, checked and limited in length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .iim import iim_texts
from .packet import PropertyError, serialize
from .vocabulary import IIM_PROPERTIES, LABEL, NAMESPACES, RDF, RIGHTS
from .xmp_reader import Node, XmpError, parse_properties

_QUALIFIED = {f"{NAMESPACES[name.split(':')[0]]} {name.split(':')[1]}": name for name in (*RIGHTS, LABEL)}
"""Name with the usual prefix, by namespace and name."""

_LABEL_SIGN = LABEL.partition(":")[2].encode()
_RIGHTS_SIGNS = tuple(sorted({name.partition(":")[2].encode() for name in RIGHTS}))
"""Byte strings without which a packet cannot hold rights. Looking for them is faster than parsing."""


@dataclass(frozen=True)
class Properties:
    """Properties of a source that renditions may keep, as elements of a new packet.

    `names` holds the names (`encode.dropped`) of all that the source carries, also where it cannot be kept. `complete`
    holds those of which everything can be kept.
    """

    names: frozenset[str] = frozenset()
    label: str = ""
    rights: tuple[str, ...] = ()
    complete: frozenset[str] = frozenset()


def read_properties(packets: Sequence[bytes], iim: Sequence[bytes]) -> Properties:
    """Read label and rights from the XMP packets and IPTC-IIM blocks of a source.

    A packet that cannot be parsed has no properties, but its label and rights count as carried. Two different values of
    one property contradict each other, so neither is kept.
    """
    values, damaged = _parse(packets)
    for name, node in _iim_properties(iim):
        values.setdefault(name, [node])
    names = damaged | {_kind(name) for name in values}
    elements: dict[str, str] = {}
    for name in (LABEL, *RIGHTS):
        try:
            elements[name] = _agreed(name, values.get(name, []))
        except PropertyError:
            damaged.add(_kind(name))
    label = "" if "ai_label" in damaged else elements[LABEL]
    rights = tuple(elements[name] for name in RIGHTS if elements.get(name))
    return Properties(frozenset(names), label, rights, frozenset(names - damaged))


def _kind(name: str) -> str:
    """Return the name (`encode.dropped`) of the kind of a property."""
    return "ai_label" if name == LABEL else "xmp_rights"


def _parse(packets: Sequence[bytes]) -> tuple[dict[str, list[Node]], set[str]]:
    """Return the values of each property, and the names of what is in damaged packets."""
    values, damaged = dict[str, list[Node]](), set[str]()
    for packet in packets:
        signs = _signs(packet)
        try:
            for node in parse_properties(packet, _QUALIFIED) if signs else []:
                values.setdefault(_QUALIFIED[node.name], []).append(node)
        except XmpError:
            damaged |= signs
    return values, damaged


def _agreed(name: str, nodes: Sequence[Node]) -> str:
    """Return the element of a property; empty when it has no value.

    Raises:
        PropertyError: a value is invalid, or the values differ.
    """
    elements = {element for node in nodes if (element := serialize(name, node))}
    if len(elements) > 1:
        raise PropertyError(f"the values of {name} contradict each other")
    return next(iter(elements), "")


def _iim_properties(blocks: Sequence[bytes]) -> Iterator[tuple[str, Node]]:
    """Yield the properties for the rights in IPTC-IIM blocks."""
    for block in blocks:
        texts = iim_texts(block)
        for number, name in IIM_PROPERTIES.items():
            if found := [text for text in texts.get(number, []) if text.strip("\0 ")]:
                items = [Node(f"{RDF} li", text=text.strip("\0")) for text in found]
                yield name, Node(name, children=[Node(f"{RDF} Seq", children=items)])


def _signs(packet: bytes) -> set[str]:
    """Return the names of what a packet may hold."""
    if b"\0" in packet[:4]:
        packet = packet.replace(b"\0", b"")  # the same search for UTF-16 and UTF-32
    found = {"ai_label"} if _LABEL_SIGN in packet else set()
    return found | ({"xmp_rights"} if any(sign in packet for sign in _RIGHTS_SIGNS) else set())
