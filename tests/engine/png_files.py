"""Write PNG files of every kind from numbers, and animated ones, without Pillow."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

from PIL import Image

ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def chunk(name: bytes, data: bytes) -> bytes:
    """Build a PNG chunk."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _line(row: Sequence[tuple[int, ...]], depth: int) -> bytes:
    """Pack a row of a PNG without a filter."""
    text = "".join(f"{value:0{depth}b}" for pixel in row for value in pixel)
    text += "0" * (-len(text) % 8)
    return b"\0" + int(text, 2).to_bytes(len(text) // 8, "big") if text else b""


def write_png(
    rows: Sequence[Sequence[tuple[int, ...]]], depth: int, kind: int, chunks: bytes, *, interlaced: bool
) -> bytes:
    """Write a PNG, all rows unfiltered."""
    width, height = len(rows[0]), len(rows)
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    data = b"".join(
        _line(row[left::across], depth)
        for left, top, across, down in passes
        for row in rows[top::down]
        if row[left::across]
    )
    head = struct.pack(">2I5B", width, height, depth, kind, 0, 0, interlaced)
    parts = [chunk(b"IHDR", head), chunks, chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def write_apng(
    frames: Sequence[tuple[Image.Image, int, int, int, int]], kind: int, fallback: Image.Image | None
) -> bytes:
    """Write an animated PNG; `fallback` is the image for viewers without animation, if it is no frame."""
    parts = [
        chunk(b"IHDR", struct.pack(">2I5B", 12, 10, 8, kind, 0, 0, 0)),
        chunk(b"acTL", struct.pack(">2I", len(frames), 0)),
    ]
    number = 0
    if fallback:
        parts.append(chunk(b"IDAT", _deflated(fallback)))
    for at, (image, left, top, disposal, blending) in enumerate(frames):
        control = struct.pack(">5I2H2B", number, *image.size, left, top, 1, 10, disposal, blending)
        number += 1
        parts.append(chunk(b"fcTL", control))
        if at or fallback:
            parts.append(chunk(b"fdAT", struct.pack(">I", number) + _deflated(image)))
            number += 1
        else:
            parts.append(chunk(b"IDAT", _deflated(image)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def _deflated(image: Image.Image) -> bytes:
    """Compress the rows of an image without filters."""
    body, row = image.tobytes(), image.width * len(image.mode)
    return zlib.compress(b"".join(b"\0" + body[at : at + row] for at in range(0, len(body), row)))
