"""PNG: walk and build chunks (PNG specification, 5.3)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 500_000
"""More chunks are no image: each takes time, and holds 12 bytes of its own."""

_HEAD = struct.Struct(">I4s")


class Chunk(NamedTuple):
    """A chunk of a PNG: its type, the offset of its data in the file, and the length of the data in bytes."""

    name: bytes
    offset: int
    length: int

    @property
    def end(self) -> int:
        """Offset behind the data: that of the checksum."""
        return self.offset + self.length


def walk_chunks(body: memoryview) -> Iterator[Chunk]:
    """Yield the chunks from the first to IEND, at most `MAX_CHUNKS`. The last one of a truncated file may be cut."""
    offset = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if offset + 12 > len(body):
            return
        length, name = _HEAD.unpack_from(body, offset)
        yield Chunk(name, offset + 8, length)
        if name == b"IEND":
            return
        offset += 12 + length


def build_chunk(name: bytes, data: bytes) -> bytes:
    """Build a chunk with its length and its checksum."""
    return b"".join((_HEAD.pack(len(data), name), data, struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))))
