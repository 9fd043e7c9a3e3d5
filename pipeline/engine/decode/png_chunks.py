"""PNG chunks: walk the chunks of a file by their lengths, without decoding pixels (PNG specification, 5.3)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import BinaryIO, NamedTuple

SIGNATURE_BYTES = 8
MAX_COLOR_CHUNK_BYTES = 64
"""Chunks that describe colors by numbers (cICP, sRGB, gAMA, cHRM, mDCV, cLLI) are shorter than this."""


class Chunk(NamedTuple):
    """A chunk of a PNG: its type, the offset of its data in the file, and the length of the data in bytes."""

    name: bytes
    offset: int
    length: int


def walk_chunks(stream: BinaryIO) -> Iterator[Chunk]:
    """Yield the chunks from the first to IEND, or to the end of a truncated file. Keep the stream's position."""
    place = stream.tell()
    try:
        offset = SIGNATURE_BYTES
        while True:
            stream.seek(offset)
            head = stream.read(8)
            if len(head) < 8:
                return
            chunk = Chunk(head[4:], offset + 8, int.from_bytes(head[:4], "big"))
            yield chunk
            if chunk.name == b"IEND":
                return
            offset = chunk.offset + chunk.length + 4
    finally:
        stream.seek(place)


def color_chunks(stream: BinaryIO, names: Collection[bytes]) -> dict[bytes, bytes]:
    """Read the first chunk of each type in `names` that precedes the pixels, if it is short enough to be valid."""
    place, found = stream.tell(), dict[bytes, bytes]()
    for chunk in walk_chunks(stream):
        if chunk.name == b"IDAT":
            break
        if chunk.name in names and chunk.name not in found and chunk.length <= MAX_COLOR_CHUNK_BYTES:
            stream.seek(chunk.offset)
            found[chunk.name] = stream.read(chunk.length)
    stream.seek(place)
    return found
