"""ISO boxes: read the color and the geometry that AVIF and HEIF files declare beside their pixels.

Pillow does not expose these values. The boxes are those of ISO/IEC 14496-12 (ISOBMFF) and ISO/IEC 23008-12 (HEIF). No
pixels are decoded. A file is untrusted: lengths are checked against the enclosing box, numbers of entries are limited,
and a box that makes no sense counts as absent.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor
from typing import BinaryIO, NamedTuple

from ..color.spaces import CodePoints
from ..image_view import Size
from . import av1_header

MAX_BOXES = 20_000
"""Boxes to visit in one file. An image of 48 tiles has about 100."""

MAX_TABLE_BYTES = 1 << 18
"""Bytes to read of a table (`ipma`, `iref`)."""

MAX_PROPERTY_BYTES = 256
"""Bytes to read of a property; the ones that count have at most 40, and sequence headers of AV1 rarely more than 20."""

_FULL_BOX = 4
_SAMPLE_ENTRY = 78
"""Bytes before the boxes in a VisualSampleEntry (ISO/IEC 14496-12, 12.1.3)."""

_ORIENTATIONS = {
    (0, None): 1,
    (0, 0): 4,
    (0, 1): 2,
    (1, None): 8,
    (1, 0): 5,
    (1, 1): 7,
    (2, None): 3,
    (2, 0): 2,
    (2, 1): 4,
    (3, None): 6,
    (3, 0): 7,
    (3, 1): 5,
}
"""Orientation as in EXIF by quarter turns counter-clockwise (irot) and mirror axis (imir; 0 swaps top and bottom)."""


class Box(NamedTuple):
    """A box: its type, and where its content starts and ends in the file."""

    name: bytes
    start: int
    end: int


@dataclass(frozen=True)
class Properties:
    """Properties of the image that a file shows first.

    `color` is the color space by numbers. `clean_aperture` is the part of the stored pixels to show, as eight integers:
    numerators and denominators of width, height, horizontal and vertical offset. `orientation` is as in EXIF.
    `content_peak` and `mastering_peak` are luminances in cd/m², 0 when unknown.
    """

    color: CodePoints | None = None
    clean_aperture: tuple[int, ...] | None = None
    orientation: int = 1
    content_peak: float = 0.0
    mastering_peak: float = 0.0

    @property
    def peak(self) -> float:
        """Luminance of the brightest content in cd/m², 0 when unknown."""
        return self.content_peak or self.mastering_peak

    def visible_box(self, size: Size) -> tuple[int, int, int, int] | None:
        """Return the visible part of `size` stored pixels as (left, top, right, bottom); None for all of them.

        A half pixel is rounded down, as libheif does. A clean aperture outside the image counts as absent.
        """
        if self.clean_aperture is None or 0 in self.clean_aperture[1::2]:
            return None
        width, height, across, down = (Fraction(*pair) for pair in zip(*[iter(self.clean_aperture)] * 2, strict=True))
        box = (*_span(size[0], width, across), *_span(size[1], height, down))
        left, right, top, bottom = box
        if left >= right or top >= bottom or (left, top, right, bottom) == (0, 0, *size):
            return None
        return left, top, right, bottom


def _span(side: int, length: Fraction, offset: Fraction) -> tuple[int, int]:
    """Return the first and the last pixel of an aperture whose center is `offset` from the center of the image."""
    first = floor(offset + (side - floor(length)) / Fraction(2))
    return max(first, 0), min(first + floor(length), side)


def read_properties(stream: BinaryIO) -> Properties:
    """Read the properties of an AVIF or HEIF file. Keep the stream's position. Damage gives fewer properties."""
    place = stream.tell()
    try:
        return _Reader(stream).read()
    except (struct.error, IndexError, OverflowError, _TooManyBoxesError):
        return Properties()
    finally:
        stream.seek(place)


class _TooManyBoxesError(ValueError):
    """The file has more boxes than any image needs."""


@dataclass
class _Reader:
    """Read boxes of one file, and count them."""

    stream: BinaryIO
    visited: int = field(default=0, init=False)

    def read(self) -> Properties:
        """Read the properties of the primary item; for an AVIF sequence those of its track."""
        end = self.stream.seek(0, 2)
        top = {box.name: box for box in self.boxes(0, end) if box.name in (b"ftyp", b"meta", b"moov")}
        sequence = b"ftyp" in top and self.bytes_of(top[b"ftyp"], 4) == b"avis"
        if sequence and b"moov" in top:
            return self.collect(self.track_properties(top[b"moov"]))
        return self.collect(self.item_properties(top[b"meta"])) if b"meta" in top else Properties()

    def boxes(self, start: int, end: int) -> Iterator[Box]:
        """Yield the boxes in a part of the file. Stop at a length that does not fit."""
        while start + 8 <= end:
            self.visited += 1
            if self.visited > MAX_BOXES:
                raise _TooManyBoxesError
            self.stream.seek(start)
            head = self.stream.read(16)
            if len(head) < 8:
                return
            size, content = int.from_bytes(head[:4], "big"), start + 8
            if size == 1:
                size, content = int.from_bytes(head[8:16], "big"), start + 16
            after = end if size == 0 else start + size
            if content > after or after > end:
                return
            yield Box(head[4:8], content, after)
            start = after

    def children(self, box: Box, skip: int = 0) -> Iterator[Box]:
        """Yield the boxes in a box, after `skip` bytes of its own fields."""
        return self.boxes(box.start + skip, box.end)

    def bytes_of(self, box: Box, limit: int) -> bytes:
        """Read the content of a box, at most `limit` bytes."""
        self.stream.seek(box.start)
        return self.stream.read(min(limit, box.end - box.start))

    def path(self, box: Box, *names: bytes) -> Box | None:
        """Return the first box at a path below `box`."""
        found: Box | None = box
        for name in names:
            found = next((child for child in self.children(found) if child.name == name), None) if found else None
        return found

    def item_properties(self, meta: Box) -> list[tuple[bytes, bytes]]:
        """Return the properties of the primary item, by type; a grid without a color gets that of its first tile."""
        parts = {box.name: box for box in self.children(meta, _FULL_BOX)}
        if b"pitm" not in parts or b"iprp" not in parts:
            return []
        item = _number(self.bytes_of(parts[b"pitm"], 8), _FULL_BOX, wide=self.bytes_of(parts[b"pitm"], 1) != b"\0")
        inner = list(self.children(parts[b"iprp"]))
        known = [list(self.children(box)) for box in inner if box.name == b"ipco"][:1]
        tables = [self.bytes_of(box, MAX_TABLE_BYTES) for box in inner if box.name == b"ipma"][:4]
        own = self.associated(known, tables, item)
        if not any(_is_nclx(*each) for each in own) and b"iref" in parts:
            tile = self.first_tile(parts[b"iref"], item)
            own += [each for each in self.associated(known, tables, tile) if each[0] == b"colr"] if tile else []
        return own

    def associated(self, known: list[list[Box]], tables: list[bytes], item: int) -> list[tuple[bytes, bytes]]:
        """Return the properties that the tables associate with an item."""
        boxes = known[0] if known else []
        numbers = [number for table in tables for number in _associations(table, item)]
        found = [boxes[number - 1] for number in numbers if 1 <= number <= len(boxes)]
        return [(box.name, self.bytes_of(box, MAX_PROPERTY_BYTES)) for box in found]

    def first_tile(self, iref: Box, item: int) -> int | None:
        """Return the first item that a derived item is made from."""
        wide = self.bytes_of(iref, 1) != b"\0"
        width = 4 if wide else 2
        for box in self.children(iref, _FULL_BOX):
            body = self.bytes_of(box, 2 * width + 2)
            if box.name == b"dimg" and _number(body, 0, wide=wide) == item:
                return _number(body, width + 2, wide=wide)
        return None

    def track_properties(self, moov: Box) -> list[tuple[bytes, bytes]]:
        """Return the properties in the sample description of the first track of pictures that is no alpha channel."""
        for track in self.children(moov):
            media = self.path(track, b"mdia") if track.name == b"trak" else None
            handler = self.path(media, b"hdlr") if media else None
            if not media or not handler or self.bytes_of(handler, 12)[8:] not in (b"pict", b"vide"):
                continue
            table = self.path(media, b"minf", b"stbl", b"stsd")
            entry = next(self.children(table, 8), None) if table else None
            if entry:
                found = self.children(entry, _SAMPLE_ENTRY)
                return [(box.name, self.bytes_of(box, MAX_PROPERTY_BYTES)) for box in found]
        return []

    @staticmethod
    def collect(properties: list[tuple[bytes, bytes]]) -> Properties:
        """Interpret the properties; of several of a type the first counts."""
        first: dict[bytes, bytes] = {}
        for name, body in properties:
            if name != b"colr" or _is_nclx(name, body):
                first.setdefault(name, body)
        turns = first[b"irot"][0] & 3 if first.get(b"irot") else 0
        axis = first[b"imir"][0] & 1 if first.get(b"imir") else None
        clap, color = first.get(b"clap", b""), first.get(b"colr")
        points = CodePoints(*struct.unpack_from(">HH", color, 4)) if color else None
        return Properties(
            color=points or av1_header.code_points(first.get(b"av1C")),
            clean_aperture=struct.unpack_from(">IIIIiIiI", clap) if len(clap) >= 32 else None,
            orientation=_ORIENTATIONS[turns, axis],
            content_peak=float(_number(first.get(b"clli", b"\0\0"), 0, wide=False)),
            mastering_peak=mastering_peak(first.get(b"mdcv", b"")),
        )


def mastering_peak(body: bytes) -> float:
    """Return the highest luminance of a mastering display (`mdcv`, or `mDCV` of PNG) in cd/m²; 0 when unknown."""
    return int.from_bytes(body[16:20], "big") / 10_000 if len(body) >= 24 else 0.0


def _is_nclx(name: bytes, body: bytes) -> bool:
    """Return True for a color property that holds numbers, not a profile."""
    return name == b"colr" and body[:4] == b"nclx" and len(body) >= 10


def _number(body: bytes, at: int, *, wide: bool) -> int:
    """Read a number of 4 bytes, or of 2."""
    value: int = struct.unpack_from(">I" if wide else ">H", body, at)[0]
    return value


def _associations(table: bytes, item: int) -> list[int]:
    """Return the numbers of an item's properties (ISO/IEC 23008-12, 9.3.1), counted from 1."""
    wide_items, wide_numbers = table[0] > 0, bool(table[3] & 1)
    at, width = 8, 2 if wide_numbers else 1
    for _ in range(_number(table, 4, wide=True)):
        if at >= len(table):
            break
        found = _number(table, at, wide=wide_items)
        at += 4 if wide_items else 2
        count, at = table[at], at + 1
        if found == item:
            mask = 0x7FFF if wide_numbers else 0x7F
            pairs = (table[at + i * width : at + (i + 1) * width] for i in range(count))
            return [int.from_bytes(pair, "big") & mask for pair in pairs]
        at += count * width
    return []
