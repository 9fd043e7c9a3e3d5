"""Write TIFF files of every pixel layout from numbers, without Pillow (TIFF 6.0; technical notes 1 and 3 of Adobe)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

Pixel = tuple[float, ...]
Rows = Sequence[Sequence[Pixel]]

NONE, LZW, JPEG, DEFLATE, PACKBITS = 1, 5, 7, 8, 32773
_FLIPPED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
_CODES = {(1, 8): "B", (1, 16): "H", (1, 32): "I", (1, 64): "Q", (2, 8): "b", (2, 16): "h", (2, 32): "i"}
_FLOATS = {16: "e", 32: "f", 64: "d"}


@dataclass(frozen=True)
class Layout:
    """Describe how a TIFF stores its pixels, by the names and numbers of the specification."""

    photometric: int
    bits: int = 8
    kind: int = 1
    samples: int = 1
    planar: int = 1
    predictor: int = 1
    compression: int = NONE
    tile: int = 0
    order: str = "<"
    fill: int = 1
    extras: tuple[int, ...] = ()
    subsampling: tuple[int, int] = (1, 1)
    tags: tuple[tuple[int, str, tuple[int, ...]], ...] = field(default=())

    def __str__(self) -> str:
        """Name the layout in a test report."""
        return " ".join(f"{name}={value}" for name, value in vars(self).items() if value != vars(Layout(-1)).get(name))


def write_tiff(rows: Rows, layout: Layout, blocks: Sequence[bytes] | None = None) -> bytes:
    """Write a TIFF with one page. `blocks` replaces the encoded strips or tiles."""
    return write_pages([(rows, layout, blocks)])


def write_pages(pages: Sequence[tuple[Rows, Layout, Sequence[bytes] | None]]) -> bytes:
    """Write a TIFF with several pages in the byte order of the first."""
    order = pages[0][1].order
    body = bytearray(struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 0))
    link = 4
    for rows, layout, given in pages:
        blocks = list(given) if given is not None else [_compress(block, layout) for block in _blocks(rows, layout)]
        offsets = []
        for block in blocks:
            offsets.append(len(body))
            body += block + bytes(len(block) % 2)
        tags = _tags(rows, layout, offsets, [len(block) for block in blocks])
        values = {}
        for tag, (code, numbers) in tags.items():
            packed = struct.pack(f"{order}{len(numbers)}{code}", *numbers)
            if len(packed) > 4:
                offset = len(body)
                body += packed + bytes(len(packed) % 2)
                packed = struct.pack(order + "I", offset)
            values[tag] = packed.ljust(4, b"\0")
        struct.pack_into(order + "I", body, link, len(body))
        body += struct.pack(order + "H", len(tags))
        for tag, (code, numbers) in sorted(tags.items()):
            body += struct.pack(order + "HHI", tag, {"B": 1, "H": 3, "I": 4, "L": 4}[code], len(numbers)) + values[tag]
        link = len(body)
        body += bytes(4)
    return bytes(body)


def _tags(rows: Rows, layout: Layout, offsets: list[int], sizes: list[int]) -> dict[int, tuple[str, Sequence[int]]]:
    """Return the fields of the directory: for each tag its type and its values."""
    tags: dict[int, tuple[str, Sequence[int]]] = {
        256: ("I", [len(rows[0])]),
        257: ("I", [len(rows)]),
        258: ("H", [layout.bits] * layout.samples),
        259: ("H", [layout.compression]),
        262: ("H", [layout.photometric]),
        277: ("H", [layout.samples]),
        284: ("H", [layout.planar]),
    }
    if layout.kind != 1:
        tags[339] = ("H", [layout.kind] * layout.samples)
    if layout.fill != 1:
        tags[266] = ("H", [layout.fill])
    if layout.predictor != 1:
        tags[317] = ("H", [layout.predictor])
    if layout.extras:
        tags[338] = ("H", layout.extras)
    if layout.photometric == 6:
        tags[530] = ("H", layout.subsampling)
    if layout.tile:
        tags |= {322: ("H", [layout.tile]), 323: ("H", [layout.tile]), 324: ("I", offsets), 325: ("I", sizes)}
    else:
        tags |= {273: ("I", offsets), 278: ("H", [STRIP_ROWS]), 279: ("I", sizes)}
    return tags | {tag: (code, numbers) for tag, code, numbers in layout.tags}


STRIP_ROWS = 4


def split(rows: Rows, layout: Layout) -> Iterator[list[list[Pixel]]]:
    """Cut the pixels into strips, or into whole tiles that repeat the last pixels."""
    if not layout.tile:
        for top in range(0, len(rows), STRIP_ROWS):
            yield [list(row) for row in rows[top : top + STRIP_ROWS]]
        return
    side = layout.tile
    for top in range(0, len(rows), side):
        for left in range(0, len(rows[0]), side):
            yield [
                [rows[min(y, len(rows) - 1)][min(x, len(rows[0]) - 1)] for x in range(left, left + side)]
                for y in range(top, top + side)
            ]


def _blocks(rows: Rows, layout: Layout) -> Iterator[bytes]:
    """Pack all strips or tiles, plane by plane if the planes are separate."""
    if layout.planar == 2:
        for plane in range(layout.samples):
            for block in split(rows, layout):
                yield b"".join(_row([(pixel[plane],) for pixel in row], layout) for row in block)
    elif layout.photometric == 6 and layout.subsampling != (1, 1):
        for block in split(rows, layout):
            yield _subsampled(block, *layout.subsampling)
    else:
        for block in split(rows, layout):
            yield b"".join(_row(row, layout) for row in block)


def _subsampled(block: list[list[Pixel]], across: int, down: int) -> bytes:
    """Pack YCbCr data units: the brightness of a small block, then its two colors (TIFF 6.0, section 21)."""
    data = bytearray()
    for top in range(0, len(block), down):
        for left in range(0, len(block[0]), across):
            cell = [
                block[min(top + y, len(block) - 1)][min(left + x, len(block[0]) - 1)]
                for y in range(down)
                for x in range(across)
            ]
            data += bytes(int(pixel[0]) for pixel in cell) + bytes(int(value) for value in cell[0][1:3])
    return bytes(data)


def _row(row: Sequence[Pixel], layout: Layout) -> bytes:
    """Pack a row of samples, with its predictor."""
    width = len(row[0])
    values: list[Any] = [value for pixel in row for value in pixel]
    if layout.kind == 3:
        if layout.predictor == 3:
            return _float_difference(struct.pack(f">{len(values)}{_FLOATS[layout.bits]}", *values), layout, width)
        return struct.pack(f"{layout.order}{len(values)}{_FLOATS[layout.bits]}", *values)
    if layout.predictor == 2:
        top = 1 << layout.bits
        values = [(value - (values[at - width] if at >= width else 0)) % top for at, value in enumerate(values)]
        return struct.pack(f"{layout.order}{len(values)}{_CODES[1, layout.bits]}", *values)
    if (layout.kind, layout.bits) in _CODES:
        return struct.pack(f"{layout.order}{len(values)}{_CODES[layout.kind, layout.bits]}", *values)
    text = "".join(f"{value:0{layout.bits}b}" for value in values)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def _float_difference(packed: bytes, layout: Layout, width: int) -> bytes:
    """Separate the bytes of floats by their weight and store differences (technical note 3)."""
    size = layout.bits // 8
    planes = b"".join(packed[at::size] for at in range(size))
    return bytes((value - (planes[at - width] if at >= width else 0)) % 256 for at, value in enumerate(planes))


def _compress(block: bytes, layout: Layout) -> bytes:
    """Compress a strip or tile, and reverse the bits of each byte for fill order 2."""
    if layout.compression == DEFLATE:
        block = zlib.compress(block)
    elif layout.compression == LZW:
        block = _lzw(block)
    elif layout.compression == PACKBITS:
        block = b"".join(
            bytes([len(block[at : at + 128]) - 1]) + block[at : at + 128] for at in range(0, len(block), 128)
        )
    return block.translate(_FLIPPED) if layout.fill == 2 else block


def _lzw(block: bytes) -> bytes:
    """Encode as LZW with 9-bit literals only: a clear code every 200 bytes keeps the codes short."""
    codes = [256]
    for at, value in enumerate(block):
        if at and at % 200 == 0:
            codes.append(256)
        codes.append(value)
    text = "".join(f"{code:09b}" for code in [*codes, 257])
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")
