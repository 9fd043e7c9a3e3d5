"""TIFF pixel layouts: decide how the pixels of a page are read, or refuse the page.

Pillow chooses its unpacker by a table of layouts. The table is wrong or incomplete for many valid layouts: separate
planes, 16-bit and 32-bit gray in either polarity, big-endian numbers in compressed files. Such a page is decoded by
libtiff into a *carrier*, a mode of Pillow whose pixels have the same number of bytes. `assemble` makes the image from
its bands. Layouts outside these rules raise `unsupported_variant`, because Pillow might show wrong pixels.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import pil
from ..containers.tiff_tags import (
    BITS,
    COLOR_MAP,
    COMPRESSION,
    COMPRESSION_NAMES,
    EXTRA_SAMPLES,
    FILL_ORDER,
    INK_SET,
    PHOTOMETRIC,
    PLANAR,
    SAMPLE_FORMAT,
    SAMPLES,
)
from ..errors import EngineError
from ..pixel_modes import to_working

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, CIELAB = 0, 1, 2, 3, 5, 6, 8
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
ASSOCIATED, UNASSOCIATED, COREL_ALPHA = 1, 2, 999
UNCOMPRESSED, OLD_JPEG, JPEG_COMPRESSION = 1, 6, 7

COLOR_SAMPLES = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, CIELAB: 3}
"""Number of samples of a color, for the color spaces that the engine reads."""

COLOR_NAMES = {
    WHITE_IS_ZERO: "gray",
    BLACK_IS_ZERO: "gray",
    RGB: "RGB",
    PALETTE: "palette",
    CMYK: "CMYK",
    YCBCR: "YCbCr",
    4: "mask",
    CIELAB: "LAB",
    9: "ICC LAB",
    10: "ITU LAB",
    32844: "LogL",
    32845: "LogLuv",
    32803: "camera RAW",
    34892: "linear camera RAW",
}
KIND_NAMES = {
    UNSIGNED: "",
    SIGNED: "signed ",
    FLOAT: "floating-point ",
    4: "undefined ",
    5: "complex ",
    6: "complex floating-point ",
}
DEPTHS = frozenset((1, 2, 4, 6, 8, 10, 12, 14, 16, 24, 32, 64, 128))
"""Depths that files have. Another number is damage."""

READABLE_COMPRESSIONS = frozenset(
    (1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32809, 32946, 34676, 34677, 34925, 50000, 50001)
)
OPTIONAL_COMPRESSIONS = {34925: "LZMA", 50000: "Zstandard", 50001: "WebP"}
"""Compressions that many builds of libtiff lack, with their names."""

_BAND_PIXELS = 1 << 20

_TOP_BYTE = 0 if sys.byteorder == "big" else -1


@dataclass(frozen=True)
class Layout:
    """Describe the pixels of a page: `bits` and number format of all samples, the color space and the extra samples."""

    photometric: int
    bits: int
    kind: int
    samples: int
    extras: tuple[int, ...]
    separate: bool
    flipped: bool
    compression: int

    @property
    def colors(self) -> int:
        """Number of samples of the color, without extra samples."""
        return COLOR_SAMPLES[self.photometric]

    @property
    def alpha(self) -> int:
        """Meaning of the first extra sample: 0, `ASSOCIATED` or `UNASSOCIATED`."""
        return self.extras[0] if self.extras else 0

    @property
    def bands(self) -> int:
        """Number of samples that count: the color and its alpha."""
        return self.colors + bool(self.alpha)


@dataclass(frozen=True)
class Carrier:
    """Name the mode and the raw mode into which libtiff's bytes are copied, and the mode of the finished image."""

    mode: str
    raw_mode: str
    meaning: str


def read_layout(tags: Mapping[int, Any]) -> Layout:
    """Read the layout from the tags of a page.

    Raises:
        EngineError: `unsupported_variant`: the samples differ from each other, or have a meaning that the engine does
            not know. `damaged_image`: a number has no meaning.
    """
    compression = _number(tags, COMPRESSION, 1)
    photometric = YCBCR if compression == OLD_JPEG else _number(tags, PHOTOMETRIC, 0)
    if compression not in READABLE_COMPRESSIONS:
        if compression not in COMPRESSION_NAMES:
            raise damaged(f"unknown compression {compression}")
        raise unsupported(f"with {COMPRESSION_NAMES[compression]} compression")
    if photometric not in COLOR_NAMES:
        raise damaged(f"unknown color space {photometric}")
    if photometric not in COLOR_SAMPLES:
        raise unsupported(f"of {COLOR_NAMES[photometric]} samples")
    samples = _number(tags, SAMPLES, 3 if compression == OLD_JPEG else 1)
    bits, kinds = _numbers(tags, BITS, 1)[:samples], _numbers(tags, SAMPLE_FORMAT, 1)[:samples]
    if not {*bits} <= DEPTHS or not {*kinds} <= KIND_NAMES.keys() or (FLOAT in kinds and max(bits) < 16):
        raise damaged("unknown number format")
    if len({*bits}) > 1 or len({*kinds}) > 1:
        raise unsupported("whose samples have different depths or number formats")
    extras = _numbers(tags, EXTRA_SAMPLES, None)
    count = samples - COLOR_SAMPLES[photometric]
    if count < 0 and not (photometric == YCBCR and samples == 1):
        raise damaged(f"{samples} samples per pixel are too few")
    if not extras and photometric == RGB and count == 1:
        extras = (UNASSOCIATED,)  # a common omission
    extras = tuple(UNASSOCIATED if each == COREL_ALPHA else each for each in (*extras, *(0,) * count)[: max(0, count)])
    if any(extras[1:]) or any(each > UNASSOCIATED for each in extras):
        raise unsupported("with several extra samples of which one is alpha")
    separate, flipped = _number(tags, PLANAR, 1) == 2 and samples > 1, _number(tags, FILL_ORDER, 1) == 2
    return Layout(photometric, bits[0], kinds[0], samples, extras, separate, flipped, compression)


def choose_carrier(layout: Layout) -> Carrier | None:
    """Return the carrier for a page. Return None when Pillow's own choice for the layout is right.

    Raises:
        EngineError: `unsupported_variant`: the engine cannot read the layout.
    """
    if layout.compression == OLD_JPEG or (layout.photometric == YCBCR and _is_plain(layout)):
        if layout.compression == UNCOMPRESSED and (layout.separate or layout.flipped):
            raise unsupported(_description(layout))
        return None  # libtiff converts the colors
    if layout.compression == JPEG_COMPRESSION and layout.bits != 8:
        raise unsupported(f"with JPEG compression of {layout.bits} bits per sample")
    plain = _is_plain(layout) and layout.bands == 3 and not (layout.separate or layout.flipped)
    if layout.photometric in (YCBCR, CIELAB) and not plain:
        raise unsupported(_description(layout))
    if layout.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO) and layout.samples == 1:
        return _gray_carrier(layout)
    if layout.kind != UNSIGNED:
        raise unsupported(_description(layout))
    return _color_carrier(layout)


def _is_plain(layout: Layout) -> bool:
    """Return True for bytes without extra samples."""
    return (layout.bits, layout.kind, layout.extras) == (8, UNSIGNED, ())


def _gray_carrier(layout: Layout) -> Carrier | None:
    """Choose the carrier of gray pixels without further samples."""
    negative = layout.photometric == WHITE_IS_ZERO
    if layout.kind == UNSIGNED and layout.bits in (1, 2, 4, 8) and not layout.flipped:
        return None
    raw = {
        (UNSIGNED, 1): ("1", "1;I" if negative else "1", "1"),
        (UNSIGNED, 2): ("L", "L;2I" if negative else "L;2", "L"),
        (UNSIGNED, 4): ("L", "L;4I" if negative else "L;4", "L"),
        (UNSIGNED, 8): ("L", "L;I" if negative else "L", "L"),
        (UNSIGNED, 12): ("I;16", "I;12", "L"),
        (UNSIGNED, 16): ("I;16", "I;16N", "L" if negative else "I;16"),
        (UNSIGNED, 32): ("I", "I;32N", "L"),
        (FLOAT, 32): ("F", "F;32NF", "L" if negative else "F"),
        (FLOAT, 64): ("F", "F;64NF", "L" if negative else "F"),
        # Values below 0 are black; the range is that of unsigned numbers of the same width.
        (SIGNED, 16): None if negative else ("I", "I;16NS", "I"),
        (SIGNED, 32): None if negative else ("I", "I;32NS", "I"),
    }.get((layout.kind, layout.bits))
    if raw is None:
        raise unsupported(_description(layout))
    return Carrier(*raw)


def _color_carrier(layout: Layout) -> Carrier | None:
    """Choose the carrier of pixels with several samples, or of palette indices."""
    bits, bands = layout.bits, layout.bands
    if layout.photometric == PALETTE and bits <= 8 and layout.samples == 1:
        rest = "" if bits == 8 else f";{bits}"
        return Carrier("P", f"P{rest}", "P") if layout.flipped else None
    if layout.photometric == CMYK and layout.alpha:
        raise unsupported("of CMYK samples with alpha")
    meaning = {1: "L", 3: "RGB", 4: "CMYK"}[layout.colors] if not layout.alpha else "RGBA"
    if layout.photometric == PALETTE:
        meaning = "PA" if layout.alpha else "P"
    if layout.separate:
        # Each plane is a band, so further planes can be left out. libtiff copies 1, 3 or 4 planes.
        found = {
            (8, 1): ("L", "L"),
            (16, 1): ("I;16", "I;16N"),
            (8, 3): ("RGB", "RGB"),
            (16, 3): ("RGB", "RGB;16N"),
            (8, 4): ("CMYK", "CMYK"),
            (16, 4): ("CMYK", "CMYK;16N"),
        }.get((bits, bands))
    else:
        if layout.alpha != ASSOCIATED and _is_common(layout):
            return None
        found = {
            (8, 2): ("LA", "LA"),
            (8, 3): ("RGB", "RGB"),
            (8, 4): ("CMYK", "CMYK"),
            (8, 5): ("CMYK", "CMYKX"),
            (8, 6): ("CMYK", "CMYKXX"),
            (16, 2): ("RGBA", "RGBA"),  # two bytes for each sample
            (16, 3): ("RGB", "RGB;16N"),
            (16, 4): ("CMYK", "CMYK;16N"),
        }.get((bits, layout.samples))
    if found is None or (layout.photometric == PALETTE and bits != 8):
        raise unsupported(_description(layout))
    return Carrier(*found, meaning)


def _is_common(layout: Layout) -> bool:
    """Return True for interleaved samples that Pillow of every supported version reads right."""
    if (
        layout.flipped
        or layout.bits not in (8, 16)
        or layout.photometric not in (RGB, CMYK, CIELAB, PALETTE, BLACK_IS_ZERO)
    ):
        return False
    if layout.photometric in (PALETTE, BLACK_IS_ZERO):
        return layout.bits == 8 and layout.extras == (UNASSOCIATED,)
    return layout.samples == layout.colors or (layout.photometric == RGB and layout.samples == 4)


def assemble(image: pil.Image.Image, layout: Layout, palette: bytes) -> pil.Image.Image:
    """Make the image from a decoded carrier. `palette` holds the colors of a palette, three bytes each."""
    if layout.samples == 1 and layout.photometric != PALETTE:
        return _assemble_gray(image, layout)
    bands = list(image.split()) if image.mode != "I;16" else [_to_bytes(image, 65_535)]
    if image.mode == "RGBA":  # 16 bits of gray and of alpha
        bands = bands[1::2] if _TOP_BYTE else bands[::2]
    elif image.mode == "LA":
        bands = [image.getchannel("L"), image.getchannel("A")]
    if layout.photometric == WHITE_IS_ZERO:
        bands[0] = pil.ImageChops.invert(bands[0])
    return _assemble_bands(bands, layout, palette)


def _assemble_bands(bands: Sequence[pil.Image.Image], layout: Layout, palette: bytes) -> pil.Image.Image:
    """Merge the bands of colors and alpha."""
    alpha = bands[layout.colors] if layout.alpha else None
    if layout.photometric == PALETTE:
        index = pil.Image.frombytes("P", bands[0].size, bands[0].tobytes())
        index.putpalette(palette)
        if alpha is None:
            return index
        colors = list(index.convert("RGB").split())
    elif layout.colors == 1:
        colors = [bands[0]] * 3 if alpha else [bands[0]]
    else:
        colors = list(bands[: layout.colors])
    if alpha is None:
        return pil.Image.merge({1: "L", 3: "RGB", 4: "CMYK"}[len(colors)], colors)
    if layout.alpha == ASSOCIATED and layout.photometric != PALETTE:
        return pil.Image.merge("RGBa", (*colors, alpha)).convert("RGBA")
    return pil.Image.merge("RGBA", (*colors, alpha))


def _assemble_gray(image: pil.Image.Image, layout: Layout) -> pil.Image.Image:
    """Scale gray pixels of more than 8 bits by the range of their type, and invert them where 0 is white."""
    if layout.kind == SIGNED or layout.bits <= 8:
        return image
    if layout.kind == UNSIGNED and layout.bits == 32:
        # The mode "I" is signed: shift, then mask. Half a level of rounding is added in 16 bits.
        image = _to_bytes(image, 65_535, shift=16)
    elif layout.bits == 12:
        image = _to_bytes(image, 4095)
    elif layout.photometric == WHITE_IS_ZERO:
        image = to_working(image)
    return pil.ImageChops.invert(image) if layout.photometric == WHITE_IS_ZERO else image


def _to_bytes(image: pil.Image.Image, full: int, shift: int = 0) -> pil.Image.Image:
    """Scale integers from 0 to `full` to 8 bits, rounded, without their last `shift` bits.

    Work in bands of rows: `ImageMath` needs four bytes per pixel for each step.
    """
    scaled, (width, height) = pil.Image.new("L", image.size), image.size
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(top + rows, height))).convert("I")
        part: pil.Image.Image = pil.ImageMath.lambda_eval(
            lambda each: (((each["i"] >> shift) & 65_535) * 255 + full // 2) / full, i=band
        )
        scaled.paste(part.convert("L"), (0, top))
    return scaled


def palette_colors(tags: Mapping[int, Any], bits: int) -> bytes:
    """Return the colors of the palette, three bytes each.

    The specification stores 16 bits per value. Some programs store 8 bits: then no value exceeds 255, and readers
    take them as they are.

    Raises:
        EngineError: the palette has a wrong length.
    """
    values = tags.get(COLOR_MAP, ())
    count = 1 << bits
    if not isinstance(values, tuple) or len(values) != 3 * count:
        raise damaged("the palette has a wrong length")
    shift = 8 if max(values) > 255 else 0
    planes = bytes(value >> shift for value in values)
    return bytes(planes[band * count + entry] for entry in range(count) for band in range(3))


def check_inks(tags: Mapping[int, Any]) -> None:
    """Check that the inks of a page are cyan, magenta, yellow and black.

    Raises:
        EngineError: `unsupported_variant`: they are not.
    """
    if _number(tags, INK_SET, 1) != 1:
        raise unsupported("of other inks than CMYK")


def unsupported(variant: str) -> EngineError:
    """Build the refusal of a variant of TIFF."""
    return EngineError(
        "unsupported_variant", f"the source is a TIFF {variant}: convert it to a TIFF or PNG in RGB with 8 or 16 bits"
    )


def damaged(reason: str) -> EngineError:
    """Build the error for tags that no file has."""
    return EngineError("damaged_image", f"the source is damaged (TIFF: {reason}): upload it again, or repair it")


def _description(layout: Layout) -> str:
    """Describe a layout for users."""
    alpha = " with alpha" if layout.alpha else f" with {len(layout.extras)} other samples" if layout.extras else ""
    planes = " in separate planes" if layout.separate else ""
    reversed_bits = " in reversed bit order" if layout.flipped else ""
    samples = f"{layout.bits}-bit {KIND_NAMES[layout.kind]}{COLOR_NAMES[layout.photometric]} samples"
    return f"of {samples}{alpha}{planes}{reversed_bits}"


def _number(tags: Mapping[int, Any], tag: int, default: int) -> int:
    """Read a tag with one number."""
    value = tags.get(tag, default)
    value = value[0] if isinstance(value, tuple) and value else value
    return value if isinstance(value, int) else default


def _numbers(tags: Mapping[int, Any], tag: int, default: int | None) -> tuple[int, ...]:
    """Read a tag with several numbers."""
    value = tags.get(tag)
    found = value if isinstance(value, tuple) else () if value is None else (value,)
    numbers = tuple(each for each in found if isinstance(each, int))
    return numbers or (() if default is None else (default,))
