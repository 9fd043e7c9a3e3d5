"""PNG rows: find pixel data that end early. zlib sees it, but Pillow leaves the missing rows black and says nothing."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO

from .. import pil
from ..containers.file_view import view_of
from ..containers.png import Chunk, walk_chunks

BLOCK_BYTES = 1 << 20

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Passes of Adam7: first column and row, steps across and down."""


def lacks_rows(image: pil.Image.Image, stream: BinaryIO, frames: int) -> bool:
    """Return True when the pixel data of a decoded PNG hold fewer rows than the image has.

    The data of a still image are decompressed again only when one of its last two rows is empty, as missing rows are.
    """
    if image.format != "PNG" or (frames == 1 and not _ends_empty(image)):
        return False
    body = view_of(stream)
    return any(_is_short(body, size, parts) for size, parts in _pixel_data(body, frames))


def _ends_empty(image: pil.Image.Image) -> bool:
    """Return True when one of the last two rows has no value but 0. Adam7 stores every second row last."""
    width, height = image.size
    return any(
        not image.crop((0, row, width, row + 1)).tobytes().strip(b"\0") for row in range(max(0, height - 2), height)
    )


def _pixel_data(body: memoryview, frames: int) -> Iterator[tuple[tuple[int, int], list[tuple[int, int]]]]:
    """Yield the size of the image and of each frame, with the parts of the file that hold the compressed pixels."""
    size, parts = (0, 0), list[tuple[int, int]]()
    for chunk in walk_chunks(body):
        if chunk.name == b"IHDR":
            size = _sides(body, chunk.offset)
        if chunk.name == b"fcTL" and frames > 1:
            if parts:
                yield size, parts
            size, parts = _sides(body, chunk.offset + 4), []
        skipped = _number_bytes(chunk)
        if skipped is not None and (frames > 1 or not skipped):
            parts.append((chunk.offset + skipped, chunk.end))
    yield size, parts


def _number_bytes(chunk: Chunk) -> int | None:
    """Return the number of bytes before the pixels in a chunk; None when it holds no pixels."""
    return {b"IDAT": 0, b"fdAT": 4}.get(chunk.name)


def _sides(body: memoryview, offset: int) -> tuple[int, int]:
    return int.from_bytes(body[offset : offset + 4], "big"), int.from_bytes(body[offset + 4 : offset + 8], "big")


def _is_short(body: memoryview, size: tuple[int, int], parts: list[tuple[int, int]]) -> bool:
    """Return True when the compressed data are shorter than an image of this size, or damaged."""
    depth, color, interlaced = body[24], body[25], body[28]
    wanted = _raw_bytes(size, depth * _CHANNELS.get(color, 1), interlaced=bool(interlaced))
    unpack = zlib.decompressobj()
    try:
        for start, end in parts:
            block: bytes | memoryview = body[start:end]
            while block and wanted > 0:
                wanted -= len(unpack.decompress(block, BLOCK_BYTES))
                block = unpack.unconsumed_tail
    except zlib.error:
        return True
    return wanted > len(unpack.flush()) if wanted > 0 else False


def _raw_bytes(size: tuple[int, int], pixel_bits: int, *, interlaced: bool) -> int:
    """Return the bytes of all rows, each with its filter byte."""
    total = 0
    for left, top, across, down in _PASSES if interlaced else ((0, 0, 1, 1),):
        width, height = -(-(size[0] - left) // across), -(-(size[1] - top) // down)
        if width > 0 and height > 0:
            total += height * (1 + -(-width * pixel_bits // 8))
    return total
