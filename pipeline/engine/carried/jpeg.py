"""JPEG: find information in the segments before the pixels, in further images of the file and in its trailer."""

from __future__ import annotations

import struct

from ..containers.jpeg import ISO_GAIN_MAP_HEADER, XMP_HEADER, read_index, walk_segments
from .findings import MAX_BLOCK_BYTES, Findings
from .iim import iim_of_resources

EXTENDED_XMP_MARK = b"http://ns.adobe.com/xmp/extension/\0"
PHOTOSHOP_MARK = b"Photoshop 3.0\0"

_SEARCHED = frozenset((0xE1, 0xE2, 0xEB, 0xED))
"""Markers of the application segments that may hold information."""

FURTHER_HEAD_BYTES = 128 * 1024
"""Length of the start of a further image that is searched: its metadata segments."""

_FURTHER_SIGNS = (
    ("gain_map", (b"ns.adobe.com/hdr-gain-map/", b"HDRGainMap", b"aux:hdrgainmap", ISO_GAIN_MAP_HEADER)),
    ("depth", (b"disparity", b"auxiliary:depth", b"aux:depth", b"depthData", b"DepthData")),
    ("auxiliary_images", (b"matte",)),
)
_LARGE_THUMBNAILS = (0x010001, 0x010002)
"""Types of reduced copies of the image (CIPA DC-007, 5.2.3.3.1)."""

_SAMSUNG_NAMES = {0x0A30: "motion_photo", 0x0AB1: "depth", 0x0AB3: "depth"}
"""Types of blocks in Samsung's trailer."""


def find_in_jpeg(body: memoryview, findings: Findings) -> None:
    """Find information in a JPEG file."""
    extended: dict[bytes, list[tuple[int, bytes]]] = {}
    resources: list[bytes] = []
    boxes: dict[bytes, list[bytes]] = {}
    for marker, start, end in walk_segments(body):
        data = bytes(body[start:end]) if marker in _SEARCHED else b""
        if marker == 0xE1 and data.startswith(XMP_HEADER):
            findings.add_packet(data[len(XMP_HEADER) :])
        elif marker == 0xE1 and data.startswith(EXTENDED_XMP_MARK):
            guid, offset = data[35:67], int.from_bytes(data[71:75], "big")
            extended.setdefault(guid, []).append((offset, data[75:]))
        elif marker == 0xED and data.startswith(PHOTOSHOP_MARK):
            resources.append(data[len(PHOTOSHOP_MARK) :])
        elif marker == 0xE2 and data.startswith(ISO_GAIN_MAP_HEADER):
            findings.names.add("gain_map")
        elif marker == 0xEB and data.startswith(b"JP"):
            boxes.setdefault(data[2:4], []).append(data)
    for image in read_index(body) or ():
        _classify(bytes(body[image.offset :][:FURTHER_HEAD_BYTES]), image.kind & 0xFFFFFF, findings)
    _find_manifests(boxes, findings)
    findings.add_iim(*iim_of_resources(b"".join(resources)))
    main = b"".join(findings.packets)
    for guid, parts in extended.items():
        if guid in main:
            findings.add_packet(b"".join(data for _, data in sorted(parts)))
    _find_samsung_trailer(body, findings)


def _find_manifests(boxes: dict[bytes, list[bytes]], findings: Findings) -> None:
    """Join the segments of each JUMBF box, and find the C2PA manifest store (ISO/IEC 19566-5, D.2).

    A segment has a mark, the number of its box and its own number, then the header of the box and a part of the box.
    """
    for first, *others in boxes.values():
        if b"jumb" in first[:32] and b"c2pa" in first[:80]:
            findings.add_manifests(first[8:] + b"".join(part[16:] for part in others))


def _classify(head: bytes, kind: int, findings: Findings) -> None:
    """Name a further image by its metadata, or by its type in the index."""
    if not head.startswith(b"\xff\xd8"):
        return
    for name, signs in _FURTHER_SIGNS:
        if any(sign in head for sign in signs):
            findings.names.add(name)
            return
    if kind not in _LARGE_THUMBNAILS:
        findings.names.add("other_images")


def _find_samsung_trailer(body: memoryview, findings: Findings) -> None:
    """Find the video or the depth map behind the image, by the directory at the end of the file."""
    if len(body) < 8:
        return
    length, mark = struct.unpack("<I4s", body[-8:])
    if mark != b"SEFT" or not 12 <= length <= min(len(body) - 8, MAX_BLOCK_BYTES):
        return
    directory = bytes(body[-8 - length : -8])
    if not directory.startswith(b"SEFH"):
        return
    (count,) = struct.unpack_from("<I", directory, 8)
    for number in range(min(count, (length - 12) // 12, 1000)):
        (kind,) = struct.unpack_from("<H", directory, 12 + 12 * number + 2)
        if kind in _SAMSUNG_NAMES:
            findings.names.add(_SAMSUNG_NAMES[kind])
