"""Write BMP files of every header version and depth from numbers, without Pillow (Windows, OS/2)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

Color = tuple[int, int, int]
Rows = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Header:
    """Describe a bitmap: `size` is the length of its header in bytes; `masks` are those of red to alpha."""

    size: int
    bits: int
    compression: int = 0
    masks: tuple[int, ...] = ()
    top_down: bool = False
    colors: int = 0
    gap: int = 0

    def __str__(self) -> str:
        """Name the bitmap in a test report."""
        masks = "/".join(f"{mask:x}" for mask in self.masks)
        return f"header{self.size} {self.bits}bit c{self.compression} {masks} {'down' if self.top_down else 'up'}"


def write_bmp(rows: Rows, header: Header, palette: Sequence[Color] = (), data: bytes | None = None) -> bytes:
    """Write a BMP from pixel values: indices, or numbers that hold all channels. `data` replaces the pixels."""
    width, height = len(rows[0]), len(rows)
    pixels = data if data is not None else _pack(rows, header)
    if header.size == 12:
        fields = struct.pack("<I4H", 12, width, height, 1, header.bits)
    else:
        tall = -height if header.top_down else height
        fields = struct.pack(
            "<I2i2H6I",
            header.size,
            width,
            tall,
            1,
            header.bits,
            header.compression,
            len(pixels),
            2835,
            2835,
            header.colors,
            0,
        )
        fields = fields[: header.size]
        if header.size >= 52 and header.compression in (3, 6):
            fields += struct.pack(f"<{len(header.masks)}I", *header.masks)[: header.size - 40]
        fields = fields.ljust(header.size, b"\0")
        if header.size == 40 and header.compression in (3, 6):
            fields += struct.pack(f"<{len(header.masks)}I", *header.masks)
    entry = "<3B" if header.size == 12 else "<3Bx"
    table = b"".join(struct.pack(entry, blue, green, red) for red, green, blue in palette) + bytes(header.gap)
    offset = 14 + len(fields) + len(table)
    return struct.pack("<2sIHHI", b"BM", offset + len(pixels), 0, 0, offset) + fields + table + pixels


def _pack(rows: Rows, header: Header) -> bytes:
    """Pack rows from the bottom to the top, each padded to 4 bytes."""
    packed = []
    for row in rows if header.top_down else reversed(rows):
        if header.bits >= 8:
            line = b"".join(value.to_bytes(header.bits // 8, "little") for value in row)
        else:
            text = "".join(f"{value:0{header.bits}b}" for value in row)
            text += "0" * (-len(text) % 8)
            line = int(text, 2).to_bytes(len(text) // 8, "big")
        packed.append(line + bytes(-len(line) % 4))
    return b"".join(packed)


def run_lengths(rows: Rows, bits: int) -> bytes:
    """Compress indices as RLE8 or RLE4, with absolute runs, encoded runs and ends of lines."""
    out = bytearray()
    for row in reversed(rows):
        at = 0
        while at < len(row):
            part = row[at : at + 5]
            if at % 2 == 0 and len(part) >= 3:
                body = bytes(part) if bits == 8 else _nibbles(part)
                out += bytes([0, len(part)]) + body + bytes(len(body) % 2)
                at += len(part)
            else:
                out += bytes([1, row[at] if bits == 8 else row[at] << 4])
                at += 1
        out += b"\0\0"
    return bytes(out) + b"\0\1"


def _nibbles(part: Sequence[int]) -> bytes:
    """Pack two indices into each byte."""
    even = [*part, *([0] * (len(part) % 2))]
    return bytes(high << 4 | low for high, low in zip(even[::2], even[1::2], strict=True))
