"""TIFF tags: read the directory of the first image without decoding it (TIFF 6.0; BigTIFF)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

MAX_ENTRIES = 4096
MAX_VALUES = 65_536

NEW_SUBFILE_TYPE, SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 255, 256, 257, 258, 259, 262
MAKE, STRIP_OFFSETS, STRIP_COUNTS, TILE_OFFSETS, TILE_COUNTS = 271, 273, 279, 324, 325
SUB_IFDS, SAMPLE_FORMAT, DNG_VERSION = 330, 339, 50706

_USED = frozenset(
    (
        *(NEW_SUBFILE_TYPE, SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, MAKE, STRIP_OFFSETS),
        *(STRIP_COUNTS, TILE_OFFSETS, TILE_COUNTS, SUB_IFDS, SAMPLE_FORMAT, DNG_VERSION),
    )
)
"""The tags that checks use; others are not read."""

_TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 6: "b", 7: "s", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
"""Types of values, as `struct` names them. Rational and floating-point values are not read."""


@dataclass
class Directory:
    """The tags of one image: whole numbers, texts, and the offset of the next directory (0 at the end)."""

    order: str
    big: bool
    numbers: dict[int, tuple[int, ...]] = field(default_factory=dict)
    texts: dict[int, bytes] = field(default_factory=dict)
    next: int = 0

    def first(self, tag: int, default: int = 0) -> int:
        """Return the first value of a tag."""
        values = self.numbers.get(tag)
        return values[0] if values else default

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.first(WIDTH) * self.first(HEIGHT)


def read_directory(body: memoryview, offset: int | None = None) -> Directory | None:
    """Read the directory at `offset`, or the first one. Return None when the file ends before it, or is no TIFF."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(body[:2]))
    try:
        if order is None:
            return None
        (version,) = struct.unpack_from(order + "H", body, 2)
        big = version == 43
        if offset is None:
            (offset,) = struct.unpack_from(order + ("Q" if big else "I"), body, 8 if big else 4)
        return _read(body, Directory(order, big), int(offset))
    except (struct.error, OverflowError):
        return None


def _read(body: memoryview, found: Directory, offset: int) -> Directory:
    count_form, entry, link = ("Q", "HHQ8s", "Q") if found.big else ("H", "HHI4s", "I")
    (count,) = struct.unpack_from(found.order + count_form, body, offset)
    place = offset + struct.calcsize(found.order + count_form)
    size = struct.calcsize(found.order + entry)
    for number in range(min(count, MAX_ENTRIES)):
        tag, kind, values, inline = struct.unpack_from(found.order + entry, body, place + number * size)
        if tag in _USED and tag not in found.numbers:
            _add(body, found, tag, kind, min(values, MAX_VALUES), inline)
    if place + count * size + struct.calcsize(link) <= len(body):
        (found.next,) = struct.unpack_from(found.order + link, body, place + count * size)
    return found


def _add(body: memoryview, found: Directory, tag: int, kind: int, count: int, inline: bytes) -> None:
    """Add the values of one tag, from the entry itself or from where it points to. Skip values outside of the file."""
    form = _TYPES.get(kind)
    if form is None or not count:
        return
    layout = f"{found.order}{count}{form}"
    source: bytes | memoryview = inline
    place, size = 0, struct.calcsize(layout)
    if size > len(inline):
        (place,) = struct.unpack(found.order + ("Q" if found.big else "I"), inline)
        source = body
    if place + size > len(source):
        return
    values = struct.unpack_from(layout, source, place)
    if form == "s":
        found.texts[tag] = values[0]
    else:
        found.numbers[tag] = values
