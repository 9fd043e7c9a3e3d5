"""JPEG: find information in the segments before the pixels, in further images of the file and in its trailer."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

from .findings import MAX_BLOCK_BYTES, Findings
from .iim import iim_of_resources

XMP_MARK = b"http://ns.adobe.com/xap/1.0/\0"
EXTENDED_XMP_MARK = b"http://ns.adobe.com/xmp/extension/\0"
PHOTOSHOP_MARK = b"Photoshop 3.0\0"
MPF_MARK = b"MPF\0"
GAIN_MAP_MARK = b"urn:iso:std:iso:ts:21496:-1\0"

MAX_SEGMENTS = 4096
"""Largest number of segments and fill bytes before the pixels. Later segments are not searched."""

MAX_FURTHER_IMAGES = 32
FURTHER_HEAD_BYTES = 128 * 1024
"""Length of the start of a further image that is searched: its metadata segments."""

_FURTHER_SIGNS = (
    ("gain_map", (b"ns.adobe.com/hdr-gain-map/", b"HDRGainMap", b"aux:hdrgainmap", GAIN_MAP_MARK)),
    ("depth", (b"disparity", b"auxiliary:depth", b"aux:depth", b"depthData", b"DepthData")),
    ("auxiliary_images", (b"matte",)),
)
_LARGE_THUMBNAILS = (0x010001, 0x010002)
"""Types of reduced copies of the image (CIPA DC-007, 5.2.3.3.1)."""

_SAMSUNG_NAMES = {0x0A30: "motion_photo", 0x0AB1: "depth", 0x0AB3: "depth"}
"""Types of blocks in Samsung's trailer."""


def find_in_jpeg(stream: BinaryIO, findings: Findings) -> None:
    """Find information in a JPEG file."""
    extended: dict[bytes, list[tuple[int, bytes]]] = {}
    resources: list[bytes] = []
    boxes: dict[bytes, list[bytes]] = {}
    indexed = False
    for marker, start, data in _segments(stream):
        if marker == 0xE1 and data.startswith(XMP_MARK):
            findings.add_packet(data[len(XMP_MARK) :])
        elif marker == 0xE1 and data.startswith(EXTENDED_XMP_MARK):
            guid, offset = data[35:67], int.from_bytes(data[71:75], "big")
            extended.setdefault(guid, []).append((offset, data[75:]))
        elif marker == 0xE2 and data.startswith(MPF_MARK) and not indexed:
            indexed = True
            _find_further_images(stream, start + len(MPF_MARK), data[len(MPF_MARK) :], findings)
        elif marker == 0xED and data.startswith(PHOTOSHOP_MARK):
            resources.append(data[len(PHOTOSHOP_MARK) :])
        elif marker == 0xE2 and data.startswith(GAIN_MAP_MARK):
            findings.names.add("gain_map")
        elif marker == 0xEB and data.startswith(b"JP"):
            boxes.setdefault(data[2:4], []).append(data)
    _find_manifests(boxes, findings)
    findings.add_iim(*iim_of_resources(b"".join(resources)))
    main = b"".join(findings.packets)
    for guid, parts in extended.items():
        if guid in main:
            findings.add_packet(b"".join(data for _, data in sorted(parts)))
    _find_samsung_trailer(stream, findings)


def _find_manifests(boxes: dict[bytes, list[bytes]], findings: Findings) -> None:
    """Join the segments of each JUMBF box, and find the C2PA manifest store (ISO/IEC 19566-5, D.2).

    A segment has a mark, the number of its box and its own number, then the header of the box and a part of the box.
    """
    for first, *others in boxes.values():
        if b"jumb" in first[:32] and b"c2pa" in first[:80]:
            findings.add_manifests(first[8:] + b"".join(part[16:] for part in others))


def _segments(stream: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Yield marker, offset and data of the application segments before the first scan."""
    at = 2
    for _ in range(MAX_SEGMENTS):
        stream.seek(at)
        head = stream.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] in (0xDA, 0xD9):
            return
        if head[1] == 0xFF:  # a fill byte
            at += 1
            continue
        end = at + 2 + int.from_bytes(head[2:], "big")
        wanted = head[1] in (0xE1, 0xE2, 0xEB, 0xED)
        yield head[1], at + 4, stream.read(max(0, end - at - 4)) if wanted else b""
        at = end


def _find_further_images(stream: BinaryIO, base: int, index: bytes, findings: Findings) -> None:
    """Find what the other images of a multi-picture file are (CIPA DC-007). An offset outside the file counts as none.

    `base` is the offset of the index in the file, from which the index counts.
    """
    order = "<" if index[:2] == b"II" else ">"
    try:
        (at,) = struct.unpack_from(order + "I", index, 4)
        (count,) = struct.unpack_from(order + "H", index, at)
        for number in range(min(count, 64)):
            tag, _, length, value = struct.unpack_from(order + "HHII", index, at + 2 + 12 * number)
            if tag == 0xB002:
                for entry in range(1, min(length // 16, MAX_FURTHER_IMAGES)):
                    kind, _, offset = struct.unpack_from(order + "III", index, value + 16 * entry)
                    stream.seek(base + offset)
                    _classify(stream.read(FURTHER_HEAD_BYTES), kind & 0xFFFFFF, findings)
    except struct.error:
        return


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


def _find_samsung_trailer(stream: BinaryIO, findings: Findings) -> None:
    """Find the video or the depth map behind the image, by the directory at the end of the file."""
    end = stream.seek(0, os.SEEK_END)
    if end < 8:
        return
    stream.seek(end - 8)
    length, mark = struct.unpack("<I4s", stream.read(8))
    if mark != b"SEFT" or not 12 <= length <= min(end - 8, MAX_BLOCK_BYTES):
        return
    stream.seek(end - 8 - length)
    directory = stream.read(length)
    if not directory.startswith(b"SEFH"):
        return
    (count,) = struct.unpack_from("<I", directory, 8)
    for number in range(min(count, (length - 12) // 12, 1000)):
        (kind,) = struct.unpack_from("<H", directory, 12 + 12 * number + 2)
        if kind in _SAMSUNG_NAMES:
            findings.names.add(_SAMSUNG_NAMES[kind])
