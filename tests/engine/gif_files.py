"""Write GIF files from numbers, and compose their frames as browsers do, both without Pillow (GIF89a)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Color = tuple[int, int, int]
Canvas = list[list[tuple[int, int, int, int]]]

CLEAR = (0, 0, 0, 0)


@dataclass(frozen=True)
class Frame:
    """A frame: rows of palette indices at a place on the canvas. `palette` is its own, if it has one."""

    rows: Sequence[Sequence[int]]
    left: int = 0
    top: int = 0
    disposal: int = 0
    clear: int | None = None
    palette: Sequence[Color] | None = None
    interlaced: bool = False
    control: bool = True


def write_gif(
    size: tuple[int, int], palette: Sequence[Color] | None, frames: Sequence[Frame], ground: int = 0
) -> bytes:
    """Write a GIF with a canvas of `size` pixels. `ground` is the index of the background color."""
    body = b"GIF89a" + struct.pack("<2H3B", *size, _palette_bits(palette), ground, 0) + _table(palette)
    for frame in frames:
        if frame.control:
            flags = frame.disposal << 2 | (frame.clear is not None)
            body += struct.pack("<4BHBB", 0x21, 0xF9, 4, flags, 5, frame.clear or 0, 0)
        flags = _palette_bits(frame.palette) | (0x40 if frame.interlaced else 0)
        body += struct.pack("<B4HB", 0x2C, frame.left, frame.top, len(frame.rows[0]), len(frame.rows), flags)
        body += _table(frame.palette) + _pixels(_in_order(frame))
    return body + b";"


def _palette_bits(palette: Sequence[Color] | None) -> int:
    """Return the packed field that declares a palette."""
    return 0x80 | (len(palette).bit_length() - 2) if palette else 0


def _table(palette: Sequence[Color] | None) -> bytes:
    """Pack a palette of 2, 4, 8, ... colors."""
    return bytes(level for color in palette or () for level in color)


def _in_order(frame: Frame) -> list[int]:
    """Return the indices in the order of the file."""
    height = len(frame.rows)
    order = list(range(height))
    if frame.interlaced:
        order = [y for start, step in ((0, 8), (4, 8), (2, 4), (1, 2)) for y in range(start, height, step)]
    return [index for y in order for index in frame.rows[y]]


def _pixels(indices: Sequence[int]) -> bytes:
    """Encode as LZW with 9-bit literals: a clear code every 200 pixels keeps the codes short."""
    codes = [256]
    for at, index in enumerate(indices):
        if at and at % 200 == 0:
            codes.append(256)
        codes.append(index)
    number = 0
    for at, code in enumerate([*codes, 257]):
        number |= code << (9 * at)
    data = number.to_bytes((9 * (len(codes) + 1) + 7) // 8, "little")
    blocks = b"".join(bytes([len(data[at : at + 255])]) + data[at : at + 255] for at in range(0, len(data), 255))
    return b"\x08" + blocks + b"\0"


def compose(size: tuple[int, int], palette: Sequence[Color] | None, frames: Sequence[Frame]) -> Iterator[Canvas]:
    """Yield the canvas after each frame. It starts transparent; disposal 2 clears, disposal 3 restores."""
    canvas: Canvas = [[CLEAR] * size[0] for _ in range(size[1])]
    for frame in frames:
        before = [list(row) for row in canvas]
        colors = frame.palette or palette or [(level, level, level) for level in range(256)]
        box = [(x, y) for y in range(len(frame.rows)) for x in range(len(frame.rows[0]))]
        for x, y in box:
            index = frame.rows[y][x]
            if index != frame.clear and frame.top + y < size[1] and frame.left + x < size[0]:
                canvas[frame.top + y][frame.left + x] = (*colors[index], 255)
        yield [list(row) for row in canvas]
        if frame.disposal == 3:
            canvas = before
        elif frame.disposal == 2:
            for x, y in box:
                if frame.top + y < size[1] and frame.left + x < size[0]:
                    canvas[frame.top + y][frame.left + x] = CLEAR
