"""ISO boxes: read the color and the geometry that AVIF and HEIF files declare beside their pixels.

Pillow does not expose these values. The boxes are those of ISO/IEC 14496-12 (ISOBMFF) and ISO/IEC 23008-12 (HEIF). No
pixels are decoded. A file is untrusted: lengths are checked against the enclosing box, numbers of entries are limited,
and a box that makes no sense counts as absent.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from math import floor
from typing import BinaryIO

from ..color.spaces import CodePoints
from ..containers.boxes import Box, find_box, walk_boxes
from ..containers.file_view import view_of
from ..containers.heif_items import read_items
from ..image_view import Size
from . import av1_header

MAX_PROPERTY_BYTES = 256
"""Bytes to read of a property; the ones that count have at most 40, and sequence headers of AV1 rarely more than 20."""

MAX_TRACKS = 16

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
    body = view_of(stream)
    try:
        return _collect([(box.name, bytes(body[box.start : box.end][:MAX_PROPERTY_BYTES])) for box in _shown(body)])
    except (struct.error, IndexError):
        return Properties()


def _shown(body: memoryview) -> list[Box]:
    """Return the properties of the primary item; for an AVIF sequence those of its track."""
    top = {box.name: box for box in walk_boxes(body) if box.name in (b"ftyp", b"meta", b"moov")}
    sequence = b"ftyp" in top and bytes(body[top[b"ftyp"].start :][:4]) == b"avis"
    if sequence and b"moov" in top:
        return _track_properties(body, top[b"moov"])
    return _item_properties(body, top[b"meta"]) if b"meta" in top else []


def _item_properties(body: memoryview, meta: Box) -> list[Box]:
    """Return the properties of the primary item; a grid without a color gets that of its first tile."""
    items = read_items(body, meta)
    own = items.properties_of(items.primary)
    if not any(_is_nclx(box.name, body[box.start : box.end]) for box in own):
        parts = (targets for kind, item, targets in items.references if (kind, item) == (b"dimg", items.primary))
        for tile in next(parts, ())[:1]:
            own += [box for box in items.properties_of(tile) if box.name == b"colr"]
    return own


def _track_properties(body: memoryview, moov: Box) -> list[Box]:
    """Return the properties in the sample description of the first track of pictures that is no alpha channel."""
    tracks = (box for box in walk_boxes(body, moov.start, moov.end) if box.name == b"trak")
    for track in islice(tracks, MAX_TRACKS):
        media = _path(body, track, b"mdia")
        handler = _path(body, media, b"hdlr")
        if not media or not handler or bytes(body[handler.start : handler.end][8:12]) not in (b"pict", b"vide"):
            continue
        table = _path(body, media, b"minf", b"stbl", b"stsd")
        entry = next(walk_boxes(body, table.start + 8, table.end), None) if table else None
        if entry:
            return list(walk_boxes(body, entry.start + _SAMPLE_ENTRY, entry.end))
    return []


def _path(body: memoryview, box: Box | None, *names: bytes) -> Box | None:
    """Return the first box at a path below `box`."""
    for name in names:
        box = find_box(body, name, box.start, box.end) if box else None
    return box


def _collect(properties: list[tuple[bytes, bytes]]) -> Properties:
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
        content_peak=float(struct.unpack_from(">H", first.get(b"clli", b"\0\0"))[0]),
        mastering_peak=mastering_peak(first.get(b"mdcv", b"")),
    )


def mastering_peak(body: bytes) -> float:
    """Return the highest luminance of a mastering display (`mdcv`, or `mDCV` of PNG) in cd/m²; 0 when unknown."""
    return int.from_bytes(body[16:20], "big") / 10_000 if len(body) >= 24 else 0.0


def _is_nclx(name: bytes, body: bytes | memoryview) -> bool:
    """Return True for a color property that holds numbers, not a profile."""
    return name == b"colr" and body[:4] == b"nclx" and len(body) >= 10
