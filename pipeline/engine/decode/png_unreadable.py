"""Unreadable color chunks of a PNG: leave them out, since Pillow rejects the whole file for them.

A chunk of the wrong length, or a profile without a name, makes no pixel unreadable. Browsers and libpng ignore it.
"""

from __future__ import annotations

import io
from itertools import islice, takewhile
from typing import BinaryIO

from .png_chunks import Chunk, walk_chunks

MAX_CHUNKS = 10_000
"""Chunks to look at. An image has a few dozen before its pixels."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LENGTHS = {b"gAMA": 4, b"sRGB": 1, b"cHRM": 32, b"pHYs": 9}
_NAME_BYTES = 80
"""The name of a profile has 1 to 79 bytes, then a zero byte and the method of compression, which is 0."""


def leave_out(stream: BinaryIO) -> BinaryIO:
    """Return the file without unreadable color chunks: `stream` itself if it is no PNG or has none of them."""
    place = stream.tell()
    found = _find(stream) if stream.read(len(_SIGNATURE)) == _SIGNATURE else []
    if not found:
        stream.seek(place)
        return stream
    stream.seek(0)
    body, parts, at = stream.read(), list[bytes](), 0
    for chunk in found:
        parts.append(body[at : chunk.offset - 8])
        at = chunk.offset + chunk.length + 4
    return io.BytesIO(b"".join([*parts, body[at:]]))


def _find(stream: BinaryIO) -> list[Chunk]:
    """Find the unreadable color chunks before the pixels."""
    before = takewhile(lambda chunk: chunk.name != b"IDAT", islice(walk_chunks(stream), MAX_CHUNKS))
    return [
        chunk for chunk in before if chunk.length != _LENGTHS.get(chunk.name, chunk.length) or _nameless(stream, chunk)
    ]


def _nameless(stream: BinaryIO, chunk: Chunk) -> bool:
    """Return True for a profile whose chunk does not begin as it must."""
    if chunk.name != b"iCCP":
        return False
    stream.seek(chunk.offset)
    head = stream.read(min(chunk.length, _NAME_BYTES + 1))
    end = head.find(b"\0", 0, _NAME_BYTES)
    return end < 1 or head[end + 1 : end + 2] != b"\0"
