"""Read the metadata of a gain map: Adobe's XMP properties (`hdrgm`), and the binary form of ISO 21496-1."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import NamedTuple
from xml.etree import ElementTree as ET

from ..gain_map_metadata import ChannelGain, GainMapMetadata

HDRGM = "{http://ns.adobe.com/hdr-gain-map/1.0/}"
ITEM = "{http://ns.google.com/photos/1.0/container/item/}"
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"

MULTICHANNEL, BASE_COLORS, BASE_IS_HDR, COMMON_DENOMINATOR = 0x80, 0x40, 0x04, 0x08
"""Flags of the binary form. The last two were in drafts, and libultrahdr still reads and writes them."""


def parse_xmp(packet: bytes) -> ET.Element | None:
    """Parse an XMP packet. Return None when it is not well-formed, not UTF-8, or declares entities."""
    try:
        text = packet.rstrip(b"\0").decode("utf-8-sig")
        # Entities can make a short text very long.
        return None if "<!DOCTYPE" in text or "<!ENTITY" in text else ET.fromstring(text)  # noqa: S314
    except (ValueError, ET.ParseError):
        return None


class ContainerItem(NamedTuple):
    """An item of Google's container directory: its meaning, its length in bytes, and the bytes of padding behind it."""

    semantic: str
    length: int
    padding: int


def container_items(tree: ET.Element) -> list[ContainerItem]:
    """Read the items of Google's container directory in the order of the file. A length that is no number becomes 0."""
    found = []
    for element in tree.iter():
        semantic = _property(element, ITEM + "Semantic")
        if semantic is not None:
            length, padding = (_integer(_property(element, ITEM + name)) for name in ("Length", "Padding"))
            found.append(ContainerItem(semantic, length, padding))
    return found


def from_xmp(tree: ET.Element) -> GainMapMetadata | None:
    """Read Adobe's properties. Return None when they are missing or invalid, or when the base image is HDR."""
    place = next((each for each in tree.iter() if _values(each, "GainMapMax")), None)
    if place is None or not (_property(place, HDRGM + "Version") or "1.").startswith("1"):
        return None
    try:
        read = {
            field: [float(text) for text in _values(place, name)]
            for field, name in (
                ("maximum", "GainMapMax"),
                ("minimum", "GainMapMin"),
                ("gamma", "Gamma"),
                ("offset_sdr", "OffsetSDR"),
                ("offset_hdr", "OffsetHDR"),
            )
        }
        capacity = [_values(place, name) for name in ("HDRCapacityMax", "HDRCapacityMin")]
        headroom_max = float(capacity[0][0])
        headroom_min = float(capacity[1][0]) if capacity[1] else 0.0
    except (ValueError, IndexError):
        return None
    if any(len(values) not in (0, 1, 3) for values in read.values()):
        return None
    if (_property(place, HDRGM + "BaseRenditionIsHDR") or "False").strip().lower() != "false":
        return None
    count = max(len(values) for values in read.values())
    channels = (
        ChannelGain(**{field: values[at % len(values)] for field, values in read.items() if values})
        for at in range(count)
    )
    return _checked(GainMapMetadata(tuple(channels), headroom_max, headroom_min))


def from_iso(body: bytes) -> GainMapMetadata | None:
    """Read the binary form. Return None when it is truncated or invalid, or when the base image is HDR."""
    try:
        minimum_version, _, flags = struct.unpack_from(">HHB", body)
        if minimum_version != 0 or flags & BASE_IS_HDR:
            return None
        count = 3 if flags & MULTICHANNEL else 1
        kinds = "iiIii"  # minimum, maximum, gamma, offset of the base, offset of the other rendition
        numbers = _fractions(body, "II" + kinds * count, common=bool(flags & COMMON_DENOMINATOR))
    except (struct.error, ZeroDivisionError):
        return None
    headroom_min, headroom_max, *rest = numbers
    groups = (rest[5 * at : 5 * at + 5] for at in range(count))
    channels = tuple(ChannelGain(high, low, gamma, base, other) for low, high, gamma, base, other in groups)
    return _checked(GainMapMetadata(channels, headroom_max, headroom_min, bool(flags & BASE_COLORS)))


def _fractions(body: bytes, kinds: str, *, common: bool) -> Sequence[float]:
    """Read the fractions after the flags. `kinds` has the format of each numerator."""
    if common:
        denominator, *numerators = struct.unpack_from(">I" + kinds, body, 5)
        return [numerator / denominator for numerator in numerators]
    numbers = struct.unpack_from(">" + "".join(kind + "I" for kind in kinds), body, 5)
    return [above / below for above, below in zip(numbers[::2], numbers[1::2], strict=True)]


def _checked(metadata: GainMapMetadata) -> GainMapMetadata | None:
    """Return valid metadata only."""
    return metadata if metadata.valid() else None


def _values(element: ET.Element, name: str) -> list[str]:
    """Return the values of a property of `hdrgm`: one, or a sequence with one for each channel."""
    listed = element.find(HDRGM + name)
    if listed is not None and (items := listed.findall(f"{RDF}Seq/{RDF}li")):
        return [item.text or "" for item in items]
    single = _property(element, HDRGM + name)
    return [] if single is None else [single]


def _property(element: ET.Element, name: str) -> str | None:
    """Return a property that XMP may write as an attribute or as an element."""
    return element.get(name, element.findtext(name))


def _integer(text: str | None) -> int:
    """Convert up to 12 digits to an integer, and anything else to 0."""
    return int(text) if text and re.fullmatch(r"\s*[0-9]{1,12}\s*", text) else 0
