"""Items of HEIF and AVIF: list the types of the coded items of a file (ISO/IEC 14496-12, 23008-12)."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

MAX_BOXES = 10_000

_HEAD = struct.Struct(">I4s")
_COMPRESSED = re.compile(rb"cmpC|icef")


def walk_boxes(body: memoryview, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the boxes between two offsets: type, start and end of the content. Stop at an impossible length."""
    for _ in range(MAX_BOXES):
        if start + 8 > end:
            return
        size, kind = _HEAD.unpack_from(body, start)
        content = start + 8
        if size == 1 and start + 16 <= end:
            (size,) = struct.unpack_from(">Q", body, content)
            content += 8
        size = size or end - start
        if size < content - start or start + size > end:
            return
        yield kind, content, start + size
        start += size


def find_box(body: memoryview, name: bytes, start: int = 0, end: int | None = None) -> tuple[int, int] | None:
    """Return start and end of the content of the first box with this type; None when there is none."""
    boxes = walk_boxes(body, start, len(body) if end is None else end)
    return next(((content, stop) for kind, content, stop in boxes if kind == name), None)


def has_box(body: memoryview, name: bytes) -> bool:
    """Return True when the file has a box of this type on its first level."""
    return find_box(body, name) is not None


def item_types(body: memoryview) -> list[bytes]:
    """Return the types of all items, in the order of the file."""
    meta = find_box(body, b"meta")
    infos = find_box(body, b"iinf", meta[0] + 4, meta[1]) if meta else None
    if infos is None:
        return []
    start, end = infos
    # After version and flags: the number of entries, in 2 bytes or, from version 1 on, in 4.
    start += 6 if body[start] == 0 else 8
    found = []
    for kind, content, stop in walk_boxes(body, start, end):
        # Version 2 has 2 bytes for the item's number, version 3 has 4; 2 bytes of protection follow.
        place = content + (8 if body[content] == 2 else 10)
        if kind == b"infe" and place + 4 <= stop:
            found.append(bytes(body[place : place + 4]))
    return found


def has_compressed_items(body: memoryview) -> bool:
    """Return True when the properties say that items are compressed by a general method (ISO/IEC 23001-17)."""
    meta = find_box(body, b"meta")
    return meta is not None and _COMPRESSED.search(body, *meta) is not None
