"""JPEG: walk and build marker segments (ITU-T T.81, annex B), and read the index of further images (CIPA DC-007)."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from . import tiff

SOI, EOI, SOS, APP1, APP2 = 0xD8, 0xD9, 0xDA, 0xE1, 0xE2
STANDALONE = frozenset((0x01, *range(0xD0, 0xD9)))
"""Markers without a length."""

XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
ISO_GAIN_MAP_HEADER = b"urn:iso:std:iso:ts:21496:-1\0"
MPF_HEADER = b"MPF\0"
ICC_HEADER = b"ICC_PROFILE\0"

MAX_SEGMENTS = 100_000
"""More marker segments are no image: each takes time, and holds 4 bytes."""

MAX_SEGMENT_BYTES = 65_533
MAX_IMAGES = 32
"""Largest number of images in a multi-picture index that is read."""

_MARKER = re.compile(rb"\xff[^\x00\xff]")
_ENTRIES = 0xB002
_INDEX_STARTS = (b"II*\0", b"MM\0*")


class Segment(NamedTuple):
    """A marker segment: its marker, and where its data start and end in the file. 4 bytes precede the data."""

    marker: int
    start: int
    end: int


class FurtherImage(NamedTuple):
    """An image behind the first one: its type in the index, its offset in the file, and its length in bytes."""

    kind: int
    offset: int
    length: int


def walk_segments(body: memoryview, place: int = 2) -> Iterator[Segment]:
    """Yield the segments from an offset to the next pixels, at most `MAX_SEGMENTS`. The last one is a scan header.

    Bytes between segments are skipped, as decoders do. The last segment of a truncated file may be cut.
    """
    for _ in range(MAX_SEGMENTS):
        found = _MARKER.search(body, place)
        if found is None:
            return
        place = found.end()
        marker = body[place - 1]
        if marker in STANDALONE:
            continue
        if marker == EOI or place + 2 > len(body):
            return
        end = place + (body[place] << 8 | body[place + 1])
        yield Segment(marker, place + 2, end)
        if marker == SOS:
            return
        place = end


def find_payload(body: memoryview, marker: int, header: bytes) -> Segment | None:
    """Find the first segment with this marker and `header`. Its data start behind the header."""
    for segment in walk_segments(body):
        place = segment.start + len(header)
        if segment.marker == marker and body[segment.start : place] == header:
            return Segment(marker, place, segment.end)
    return None


def read_payload(body: memoryview, marker: int, header: bytes) -> bytes:
    """Read the data behind the header of the first such segment; empty when there is none."""
    found = find_payload(body, marker, header)
    return bytes(body[found.start : found.end]) if found else b""


def read_index(body: memoryview) -> list[FurtherImage] | None:
    """Read the multi-picture index (CIPA DC-007, 5.2), without the first image; None when the file has none.

    An index is a TIFF directory. Its offsets count from its own start. The list is empty when it is damaged.
    """
    found = find_payload(body, APP2, MPF_HEADER)
    if found is None:
        return None
    index = body[found.start : found.end]
    directory = tiff.read_directory(index) if bytes(index[:4]) in _INDEX_STARTS else None
    entries = directory.fields.get(_ENTRIES) if directory else None
    if directory is None or entries is None:
        return []
    layout = struct.Struct(directory.order + "III4x")
    count = min(entries.length // layout.size, MAX_IMAGES)
    if entries.offset + count * layout.size > len(index):
        return []
    rows = [layout.unpack_from(index, entries.offset + number * layout.size) for number in range(1, count)]
    return [FurtherImage(kind, found.start + offset, length) for kind, length, offset in rows]


def build_segment(marker: int, data: bytes) -> bytes:
    """Build a segment.

    Raises:
        struct.error: the data are longer than `MAX_SEGMENT_BYTES`.
    """
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data
