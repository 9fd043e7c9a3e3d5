"""BMP headers: read the size, the depth, the palette and the color masks of a bitmap in every version of its header."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from .. import pil
from ..errors import EngineError

UNCOMPRESSED, RLE8, RLE4, BIT_FIELDS, ALPHA_BIT_FIELDS = 0, 1, 2, 3, 6
CORE_HEADER, INFO_HEADER, OS2_HEADER = 12, 40, 64
FILE_HEADER_BYTES = 14

_CONTENTS = {
    4: "JPEG compression",
    5: "PNG compression",
    BIT_FIELDS: "color masks",
    ALPHA_BIT_FIELDS: "color masks",
    UNCOMPRESSED: "no compression",
    RLE8: "RLE compression",
    RLE4: "RLE compression",
    11: "CMYK colors",
    12: "CMYK colors",
    13: "CMYK colors",
}
_OS2_CONTENTS = {3: "Huffman compression", 4: "RLE24 compression"}
_DEPTHS = (0, 1, 2, 4, 8, 16, 24, 32, 64)
_BYTE_MASKS = (0xFF0000, 0xFF00, 0xFF, 0)
_DEFAULT_MASKS = {16: (0x7C00, 0x03E0, 0x001F, 0), 24: _BYTE_MASKS, 32: _BYTE_MASKS}

Masks = tuple[int, int, int, int]


@dataclass(frozen=True)
class Bitmap:
    """Describe a bitmap. `masks` are those of red, green, blue and alpha, for 16 and 32 bits per pixel.

    `palette` has three bytes for each color, in the order red, green, blue. `offset` is that of the pixels in the file.
    """

    width: int
    height: int
    top_down: bool
    bits: int
    compression: int
    masks: Masks
    palette: bytes
    offset: int

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of pixels, a multiple of 4."""
        return (self.width * self.bits + 31) // 32 * 4


def read_bitmap(stream: BinaryIO) -> Bitmap:
    """Read the headers of a BMP from its start.

    Raises:
        EngineError: `unsupported_variant`: the engine cannot read this kind. `damaged_image`: the headers are invalid.
    """
    stream.seek(0)
    head = stream.read(FILE_HEADER_BYTES + 4)
    if len(head) < FILE_HEADER_BYTES + 4:
        raise damaged("its header is truncated")
    offset, size = struct.unpack_from("<2I", head, 10)
    windows = size in (INFO_HEADER, 52, 56, 108, 124)
    if size != CORE_HEADER and not windows and not (16 <= size <= OS2_HEADER):
        raise unsupported(f"with a header of {size} bytes")
    header = stream.read(size - 4)
    if len(header) < size - 4:
        raise damaged("its header is truncated")
    if size == CORE_HEADER:
        width, height, _, bits = struct.unpack_from("<4H", header)
        compression = colors = 0
    else:
        width, height, _, bits = struct.unpack_from("<2i2H", header)
        fields = header[12:36].ljust(24, b"\0")
        compression, _, _, _, colors, _ = struct.unpack("<6I", fields)
    _check(width, height, bits, compression, windows=windows)
    masks = _read_masks(stream, header, bits, compression)
    entry = 3 if size == CORE_HEADER else 4
    palette, end = _read_palette(stream, bits, colors, entry, offset)
    if offset in (0, FILE_HEADER_BYTES + size):
        offset = end  # some programs forget the palette
    return Bitmap(width, abs(height), height < 0, bits, compression, masks, palette, offset)


def _check(width: int, height: int, bits: int, compression: int, *, windows: bool) -> None:
    """Check the kind and the size of a bitmap."""
    contents = _CONTENTS if windows else {**_CONTENTS, **_OS2_CONTENTS}
    allowed = {
        UNCOMPRESSED: (1, 2, 4, 8, 16, 24, 32),
        RLE8: (8,),
        RLE4: (4,),
        BIT_FIELDS: (16, 24, 32) if windows else (),
        ALPHA_BIT_FIELDS: (16, 32) if windows else (),
    }.get(compression, ())
    if compression not in contents or bits not in _DEPTHS:
        raise damaged(f"unknown compression {compression} or depth {bits}")
    if bits not in allowed:
        raise unsupported(f"of {bits} bits per pixel with {contents[compression]}")
    if width <= 0 or height == 0:
        raise damaged(f"it is {width}×{abs(height)} pixels")
    if height < 0 and compression in (RLE8, RLE4):
        raise damaged("compressed rows must run from the bottom to the top")


def _read_masks(stream: BinaryIO, header: bytes, bits: int, compression: int) -> Masks:
    """Read the masks from the header, or from behind a header that has no room for them."""
    if compression not in (BIT_FIELDS, ALPHA_BIT_FIELDS):
        return _DEFAULT_MASKS.get(bits, (0, 0, 0, 0))
    count = 3 if compression == BIT_FIELDS else 4
    fields = header[36:52]
    if len(fields) < 12:
        fields = stream.read(4 * count)
        if len(fields) < 4 * count:
            raise damaged("its color masks are truncated")
    red, green, blue, alpha = struct.unpack("<4I", fields[:16].ljust(16, b"\0"))
    if not red | green | blue:
        return (*_DEFAULT_MASKS[bits][:3], alpha)
    masks: Masks = (red, green, blue, alpha)
    spans = [mask // (mask & -mask) if mask else 0 for mask in masks]
    overlap = sum(masks) != red | green | blue | alpha
    if (
        overlap
        or any(span & (span + 1) for span in spans)
        or max(masks) >> bits
        or (bits == 24 and masks != _BYTE_MASKS)
    ):
        raise unsupported("with color masks that overlap, have gaps or do not fit")
    return masks


def _read_palette(stream: BinaryIO, bits: int, colors: int, entry: int, offset: int) -> tuple[bytes, int]:
    """Read the palette, and return it with the offset behind it. Missing colors are black."""
    start = stream.tell()
    if bits > 8:
        return b"", start
    count = colors if 0 < colors <= 1 << bits else 1 << bits
    if start < offset:
        count = min(count, (offset - start) // entry)
    body = stream.read(count * entry)
    planes = [body[band::entry][:count] for band in (2, 1, 0)]
    found = b"".join(bytes(color) for color in zip(*planes, strict=False))
    return found.ljust(3 << bits, b"\0"), start + len(body)


def from_masks(image: pil.Image.Image, bitmap: Bitmap) -> pil.Image.Image:
    """Make the image from a carrier: four bytes per pixel in "RGBA", or whole numbers in "I" and "I;16".

    An alpha that is 0 everywhere is ignored, as in browsers: many programs leave it unset.
    """
    if image.mode == "RGBA":
        bands = image.split()
        parts = [bands[mask.bit_length() // 8 - 1] if mask else None for mask in bitmap.masks]
    else:
        whole = image.convert("I")
        parts = [_part(whole, mask) if mask else None for mask in bitmap.masks]
    *colors, alpha = parts
    merged = [part or pil.Image.new("L", image.size) for part in colors]
    if alpha is None or alpha.getextrema() == (0, 0):
        return pil.Image.merge("RGB", merged)
    return pil.Image.merge("RGBA", (*merged, alpha))


def _part(whole: pil.Image.Image, mask: int) -> pil.Image.Image:
    """Take the bits of a mask, scaled to 8 bits. Of more than 16 bits, the first 16 count."""
    shift = (mask & -mask).bit_length() - 1
    shift += max(0, (mask >> shift).bit_length() - 16)
    full = mask >> shift
    scaled: pil.Image.Image = pil.ImageMath.lambda_eval(
        lambda each: (((each["i"] >> shift) & full) * 255 + full // 2) / full, i=whole
    )
    return scaled.convert("L")


def is_byte_aligned(masks: Masks) -> bool:
    """Return True when each mask covers one whole byte, or nothing."""
    return all(mask in (0, 0xFF, 0xFF00, 0xFF0000, 0xFF000000) for mask in masks)


def unsupported(variant: str) -> EngineError:
    """Build the refusal of a variant of BMP."""
    return EngineError("unsupported_variant", f"the source is a BMP {variant}: convert it to a PNG")


def damaged(reason: str) -> EngineError:
    """Build the error for invalid headers."""
    return EngineError("damaged_image", f"the source is damaged (BMP: {reason}): upload it again, or repair it")
