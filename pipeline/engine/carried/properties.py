"""Properties that a rendition may keep: read them from the packets of a source, checked and limited in length."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..information import Information
from .iim import iim_texts
from .packet import PropertyError, serialize
from .vocabulary import IIM_PROPERTIES, LABEL, MAX_ITEMS, NAMESPACES, RDF, RIGHTS
from .xmp_reader import MAX_XMP_BYTES, Node, XmpError, parse_properties, to_utf8

_QUALIFIED = {f"{NAMESPACES[name.split(':')[0]]} {name.split(':')[1]}": name for name in (*RIGHTS, LABEL)}
"""Name with the usual prefix, by namespace and name."""

_LABEL_SIGN = LABEL.partition(":")[2].encode()
_RIGHTS_SIGNS = tuple(sorted({name.partition(":")[2].encode() for name in RIGHTS}))
"""Byte strings without which a packet cannot hold rights. Looking for them is faster than parsing."""

_NAMES_OF_NAMESPACES = {
    "http://ns.adobe.com/hdr-gain-map/1.0/": "gain_map",
    "http://ns.apple.com/HDRGainMap/1.0/": "gain_map",
    "http://ns.google.com/photos/1.0/depthmap/": "depth",
    "http://ns.google.com/photos/1.0/panorama/": "panorama",
}
"""Namespaces of which each property is the sign of further information in the file."""

_NAMES_OF_PROPERTIES = {
    "http://ns.google.com/photos/1.0/camera/ MotionPhoto": "motion_photo",
    "http://ns.google.com/photos/1.0/camera/ MicroVideo": "motion_photo",
    "http://purl.org/dc/terms/ provenance": "c2pa",
}
"""Properties that are such a sign, unless their value is 0."""

_OTHER_SIGNS = (
    *((uri.encode(), name) for uri, name in _NAMES_OF_NAMESPACES.items()),
    *((key.partition(" ")[2].encode(), name) for key, name in _NAMES_OF_PROPERTIES.items()),
)

_SEMANTIC = re.compile(rb"Semantic(?:=[\"']|>)\s*(\w{1,40})")
"""The role of a further image or video in the file (Google's GContainer)."""

_SEMANTICS = {b"GainMap": "gain_map", b"Depth": "depth", b"DepthMap": "depth", b"MotionPhoto": "motion_photo"}


def read_properties(packets: Sequence[bytes], iim: Sequence[bytes], manifest_label: str = "") -> Information:
    """Read label and rights from the XMP packets of a source, and what these lack from its other blocks.

    A packet that cannot be parsed has no properties, but its label and rights count as carried. Two different values of
    one property contradict each other, so neither is kept.

    Args:
        packets: The XMP packets.
        iim: The IPTC-IIM blocks.
        manifest_label: The label in the C2PA manifest.
    """
    if not packets and not iim and not manifest_label:
        return Information()
    names, damaged = set[str](), set[str]()
    values: dict[str, list[Node]] = {}
    limit = MAX_XMP_BYTES  # for all packets together
    for packet in map(to_utf8, packets):
        found, lost = _parse(packet, values, limit)
        limit -= len(packet) if len(packet) <= limit else 0
        names |= found
        damaged |= lost
    for name, node in _iim_properties(iim):
        values.setdefault(name, [node])
    if manifest_label:
        values.setdefault(LABEL, [Node(LABEL, text=manifest_label)])
    elements: dict[str, str] = {}
    for name in (LABEL, *RIGHTS):
        try:
            elements[name] = _agreed(name, values.get(name, []))
        except PropertyError:
            damaged.add(_kind(name))
    names |= damaged | {_kind(name) for name, element in elements.items() if element}
    label = "" if "ai_label" in damaged else elements[LABEL]
    rights = tuple(elements[name] for name in RIGHTS if elements.get(name))
    return Information(frozenset(names), label, rights, frozenset(names - damaged))


def _kind(name: str) -> str:
    """Return the name (`encode.dropped`) of the kind of a property."""
    return "ai_label" if name == LABEL else "xmp_rights"


def _is_wanted(name: str) -> bool:
    """Return True for properties that are kept, or that are the sign of further information."""
    return name in _QUALIFIED or name in _NAMES_OF_PROPERTIES or name.partition(" ")[0] in _NAMES_OF_NAMESPACES


def _parse(packet: bytes, values: dict[str, list[Node]], limit: int) -> tuple[set[str], set[str]]:
    """Add the values of a packet to `values`. Return the names of further information, and of what is unreadable."""
    roles = {found[1] for found in _SEMANTIC.finditer(packet)} if b"Semantic" in packet else set()
    names, signs = {name for role, name in _SEMANTICS.items() if role in roles}, _signs(packet)
    if not signs:
        return names, signs
    try:
        nodes = parse_properties(packet, _is_wanted, limit)
    except XmpError:
        return names, signs
    for node in nodes:
        uri = node.name.partition(" ")[0]
        if node.name in _QUALIFIED:
            values.setdefault(_QUALIFIED[node.name], []).append(node)
        elif node.name not in _NAMES_OF_PROPERTIES:
            names.add(_NAMES_OF_NAMESPACES[uri])
        elif node.text.strip() != "0":
            names.add(_NAMES_OF_PROPERTIES[node.name])
    return names, set()


def _agreed(name: str, nodes: Sequence[Node]) -> str:
    """Return the element of a property; empty when it has no value.

    Raises:
        PropertyError: a value is invalid, or the values differ.
    """
    elements = {element for node in nodes[:MAX_ITEMS] if (element := serialize(name, node))}
    if len(elements) > 1 or len(nodes) > MAX_ITEMS:
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
    found = {name for sign, name in _OTHER_SIGNS if sign in packet}
    if _LABEL_SIGN in packet:
        found.add("ai_label")
    if any(sign in packet for sign in _RIGHTS_SIGNS):
        found.add("xmp_rights")
    return found
