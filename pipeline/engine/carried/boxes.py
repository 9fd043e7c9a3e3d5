"""HEIF and AVIF: find information in the boxes (ISO/IEC 14496-12, 23008-12)."""

from __future__ import annotations

from ..containers.boxes import Box, walk_boxes
from ..containers.heif_items import Items, read_items
from .findings import MAX_MANIFEST_BYTES, Findings

C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
MAX_BRANDS = 16
MAX_PROPERTY_BYTES = 4096

_IMAGE_TYPES = {b"hvc1", b"av01", b"grid", b"iovl", b"iden", b"avc1", b"vvc1", b"jpeg", b"j2k1", b"unci"}


def find_in_boxes(body: memoryview, findings: Findings) -> None:
    """Find information in a HEIF or AVIF file. The decoder returns its XMP.

    The decoder of AVIF reads sequences, that of HEIF does not.
    """
    sequence = False
    for box in walk_boxes(body, cut=True):
        if box.name == b"uuid" and body[box.start : box.start + 16] == C2PA_UUID:
            _find_manifests(body[box.start + 16 : box.end], findings)
        elif box.name == b"ftyp":
            # The major brand, the version of the file, and the compatible brands.
            brands = {bytes(body[place : place + 4]) for place in range(box.start, box.end, 4)[:MAX_BRANDS]}
            sequence = bool(brands & {b"hevc", b"hevx", b"msf1"}) and b"avis" not in brands
        elif box.name == b"moov" and sequence:
            findings.names.add("animation")
        elif box.name == b"mpvd":
            findings.names.add("motion_photo")
        elif box.name == b"meta":
            _find_in_items(read_items(body, box), findings)


def _find_manifests(body: memoryview, findings: Findings) -> None:
    """Read the manifest store of a C2PA box: version and flags, a purpose, an offset, and the store (C2PA, A.5.1)."""
    purpose, _, rest = bytes(body[4:MAX_MANIFEST_BYTES]).partition(b"\0")
    findings.add_manifests(rest[8:] if purpose == b"manifest" else b"")


def _find_in_items(items: Items, findings: Findings) -> None:
    """Find auxiliary, derived and further images, and the precision of the primary one."""
    if b"tmap" in items.types.values():
        findings.names.add("gain_map")
    auxiliary = (_auxiliary(_content(items, box)) for box in items.properties if box.name == b"auxC")
    findings.names.update(filter(None, auxiliary))
    if _bits([(box.name, _content(items, box)) for box in items.properties_of(items.primary)]) > 8:
        findings.names.add("color_precision")
    parts = {source for kind, source, _ in items.references if kind in (b"auxl", b"thmb", b"cdsc")}
    parts |= {target for kind, _, targets in items.references if kind == b"dimg" for target in targets}
    shown = {item for item, kind in items.types.items() if kind in _IMAGE_TYPES}
    if shown - parts - items.hidden - {items.primary}:
        findings.names.add("other_images")


def _content(items: Items, box: Box) -> bytes:
    """Read the content of a property, which is short for all kinds that count."""
    return bytes(items.body[box.start : box.end][:MAX_PROPERTY_BYTES])


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
