"""RIFF: walk and build the chunks of a WebP file (RFC 9649, 2.3 and 2.4)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

FIRST_CHUNK = 12
"""Offset of the first chunk: the header has a name, a length and the name of the format."""

MAX_CHUNKS = 100_000

_HEAD = struct.Struct("<4sI")


class Chunk(NamedTuple):
    """A chunk of a WebP: its type, and where its data start and end in the file."""

    name: bytes
    start: int
    end: int


def declared_end(body: memoryview) -> int:
    """Return the end of the file by its header. Later data are not part of it."""
    return 8 + int.from_bytes(body[4:8], "little")


def walk_chunks(body: memoryview) -> Iterator[Chunk]:
    """Yield at most `MAX_CHUNKS` chunks within the declared length. The last one of a truncated file may be cut."""
    offset, end = FIRST_CHUNK, min(declared_end(body), len(body))
    for _ in range(MAX_CHUNKS):
        if offset + 8 > end:
            return
        name, length = _HEAD.unpack_from(body, offset)
        yield Chunk(name, offset + 8, offset + 8 + length)
        offset += 8 + length + length % 2


def build_chunk(name: bytes, data: bytes) -> bytes:
    """Build a chunk, padded to an even length."""
    return _HEAD.pack(name, len(data)) + data + b"\0" * (len(data) % 2)
