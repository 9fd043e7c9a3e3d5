"""Boxes: walk the boxes of HEIF, AVIF and JUMBF (ISO/IEC 14496-12, 4.2; ISO/IEC 19566-5, A.1)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

MAX_BOXES = 10_000
"""Boxes to visit on one level. An image of 48 tiles has about 100 in all."""

_HEAD, _LONG_SIZE = struct.Struct(">I4s"), struct.Struct(">Q")


class Box(NamedTuple):
    """A box: its type, and where its content starts and ends in the file."""

    name: bytes
    start: int
    end: int


def walk_boxes(body: memoryview, start: int = 0, end: int | None = None, *, cut: bool = False) -> Iterator[Box]:
    """Yield at most `MAX_BOXES` boxes between two offsets. Stop at an impossible length.

    A box that ends behind `end` has such a length. With `cut`, it is yielded as the last one, up to `end`.
    """
    end = len(body) if end is None else min(end, len(body))
    for _ in range(MAX_BOXES):
        if start + 8 > end:
            return
        size, name = _HEAD.unpack_from(body, start)
        content = start + 8
        if size == 1 and start + 16 <= end:
            (size,) = _LONG_SIZE.unpack_from(body, content)
            content += 8
        after = start + size if size else end
        if after < content or (after > end and not cut):
            return
        yield Box(name, content, min(after, end))
        start = after


def find_box(body: memoryview, name: bytes, start: int = 0, end: int | None = None) -> Box | None:
    """Return the first box of this type between two offsets; None when there is none."""
    return next((box for box in walk_boxes(body, start, end) if box.name == name), None)
