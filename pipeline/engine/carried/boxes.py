"""HEIF and AVIF: find information in the boxes (ISO/IEC 14496-12, 23008-12)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO

from .findings import MAX_MANIFEST_BYTES, Findings

C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
MAX_META_BYTES = 4 * 1024 * 1024
MAX_BOXES = 10_000
MAX_ITEMS = 10_000

_IMAGE_TYPES = {b"hvc1", b"av01", b"grid", b"iovl", b"iden", b"avc1", b"vvc1", b"jpeg", b"j2k1", b"unci"}


@dataclass
class _Items:
    """The items of a file: the primary one, types and hidden marks by id, references and properties."""

    primary: int = 0
    types: dict[int, bytes] = field(default_factory=dict)
    hidden: set[int] = field(default_factory=set)
    references: list[tuple[bytes, int, tuple[int, ...]]] = field(default_factory=list)
    properties: list[tuple[bytes, bytes]] = field(default_factory=list)
    associations: dict[int, list[int]] = field(default_factory=dict)

    def properties_of(self, item: int) -> list[tuple[bytes, bytes]]:
        """Return name and data of the properties of an item."""
        indexes = self.associations.get(item, [])
        return [self.properties[index - 1] for index in indexes if 0 < index <= len(self.properties)]


def find_in_boxes(stream: BinaryIO, findings: Findings) -> None:
    """Find information in a HEIF or AVIF file. The decoder returns its XMP.

    The decoder of AVIF reads sequences, that of HEIF does not.
    """
    at, sequence = 0, False
    for _ in range(MAX_BOXES):
        stream.seek(at)
        head = stream.read(64)
        if len(head) < 8:
            return
        size, name = struct.unpack(">I4s", head[:8])
        start = 16 if size == 1 else 8
        size = int.from_bytes(head[8:16], "big") if size == 1 else size
        if name == b"uuid" and head[start : start + 16] == C2PA_UUID:
            _find_manifests(stream, at + start + 16, size - start - 16, findings)
        elif name == b"ftyp":
            brands = {head[place : place + 4] for place in range(8, min(size, 64), 4)}
            sequence = bool(brands & {b"hevc", b"hevx", b"msf1"}) and b"avis" not in brands
        elif name == b"moov" and sequence:
            findings.names.add("animation")
        elif name == b"mpvd":
            findings.names.add("motion_photo")
        elif name == b"meta" and size <= MAX_META_BYTES:
            stream.seek(at + start + 4)
            _find_in_items(_items(stream.read((size or MAX_META_BYTES) - start - 4)), findings)
        if size < start:  # to the end of the file, or damage
            return
        at += size


def _find_manifests(stream: BinaryIO, at: int, length: int, findings: Findings) -> None:
    """Read the manifest store of a C2PA box: version and flags, a purpose, an offset, and the store (C2PA, A.5.1)."""
    stream.seek(at)
    body = stream.read(min(max(0, length), MAX_MANIFEST_BYTES))
    purpose, _, rest = body[4:].partition(b"\0")
    findings.add_manifests(rest[8:] if purpose == b"manifest" else b"")


def _boxes(body: bytes, at: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of the boxes in `body`."""
    while at + 8 <= len(body):
        size, name = struct.unpack_from(">I4s", body, at)
        start = 8
        if size == 1:
            size, start = int.from_bytes(body[at + 8 : at + 16], "big"), 16
        if size and size < start:
            return
        end = at + size if size else len(body)
        yield name, body[at + start : end]
        at = end


def _items(meta: bytes) -> _Items:
    """Parse the item boxes of a meta box."""
    items = _Items()
    for name, body in islice(_boxes(meta), MAX_BOXES):
        long = body[:1] != b"\0"
        if name == b"pitm":
            items.primary = int.from_bytes(body[4 : 8 if long else 6], "big")
        elif name == b"iinf":
            _parse_types(body[8 if long else 6 :], items)
        elif name == b"iref":
            items.references = list(islice(_references(body), MAX_ITEMS))
        elif name == b"iprp":
            _parse_properties(body, items)
    return items


def _parse_types(body: bytes, items: _Items) -> None:
    """Parse the infe boxes of an iinf box."""
    for name, entry in islice(_boxes(body), MAX_ITEMS):
        if name == b"infe" and entry[:1] in (b"\2", b"\3"):
            width = 2 if entry[0] == 2 else 4
            item = int.from_bytes(entry[4 : 4 + width], "big")
            items.types[item] = entry[6 + width : 10 + width]
            if entry[3] & 1:
                items.hidden.add(item)


def _parse_properties(body: bytes, items: _Items) -> None:
    """Parse the ipco and ipma boxes of an iprp box."""
    for name, part in islice(_boxes(body), MAX_BOXES):
        if name == b"ipco":
            items.properties = list(islice(_boxes(part), MAX_BOXES))
        elif name == b"ipma":
            items.associations.update(_associations(part))


def _references(body: bytes) -> Iterator[tuple[bytes, int, tuple[int, ...]]]:
    """Yield kind, source and targets of the references in an iref box."""
    kind = "H" if body[:1] == b"\0" else "I"
    width = struct.calcsize(kind)
    for name, part in _boxes(body, 4):
        start, count = struct.unpack_from(f">{kind}H", part)
        count = min(count, (len(part) - width - 2) // width)
        yield name, start, struct.unpack_from(f">{count}{kind}", part, width + 2)


def _associations(body: bytes) -> dict[int, list[int]]:
    """Parse an ipma box: the numbers, from 1, of the properties of each item."""
    kind, mask, width = ("H", 0x7FFF, 2) if body[3] & 1 else ("B", 0x7F, 1)
    wide = 2 if body[0] == 0 else 4
    at, found = 8, dict[int, list[int]]()
    for _ in range(min(int.from_bytes(body[4:8], "big"), MAX_ITEMS)):
        item, count = int.from_bytes(body[at : at + wide], "big"), body[at + wide]
        numbers = struct.unpack_from(f">{count}{kind}", body, at + wide + 1)
        found[item] = [number & mask for number in numbers]
        at += wide + 1 + count * width
    return found


def _find_in_items(items: _Items, findings: Findings) -> None:
    """Find auxiliary, derived and further images, and the precision of the primary one."""
    if b"tmap" in items.types.values():
        findings.names.add("gain_map")
    findings.names.update(filter(None, (_auxiliary(body) for name, body in items.properties if name == b"auxC")))
    if _bits(items.properties_of(items.primary)) > 8:
        findings.names.add("color_precision")
    parts = {source for kind, source, _ in items.references if kind in (b"auxl", b"thmb", b"cdsc")}
    parts |= {target for kind, _, targets in items.references if kind == b"dimg" for target in targets}
    shown = {item for item, kind in items.types.items() if kind in _IMAGE_TYPES}
    if shown - parts - items.hidden - {items.primary}:
        findings.names.add("other_images")


def _auxiliary(body: bytes) -> str:
    """Name an auxiliary image by its URN; empty for alpha, which is decoded."""
    urn = body[4:].split(b"\0")[0]
    if urn.endswith((b":auxid:1", b":alpha")):
        return ""
    if b"hdrgainmap" in urn:
        return "gain_map"
    return "depth" if urn.endswith(b":auxid:2") or b"depth" in urn or b"disparity" in urn else "auxiliary_images"


def _bits(properties: list[tuple[bytes, bytes]]) -> int:
    """Return the bits per channel of an item."""
    for name, body in properties:
        if name == b"pixi" and len(body) > 5:
            return max(body[5 : 5 + body[4]], default=8)
        if name == b"hvcC" and len(body) > 17:
            return 8 + (body[17] & 7)
        if name == b"av1C" and len(body) > 2:
            return 12 if body[2] & 0x20 else 10 if body[2] & 0x40 else 8
    return 8
