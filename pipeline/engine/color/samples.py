"""Samples of 8 or 16 bits, and their conversion to the transfer curve of sRGB.

Pillow has no RGB images of 16 bits, so 16 bits are two images of 8 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .. import pil
from .spaces import SRGB_CURVE, ColorSpace, Curve

LEVELS = 65_536

BAND_PIXELS = 1 << 18
"""Pixels to convert at a time: the steps need up to 60 bytes for each."""


@dataclass(frozen=True)
class Samples:
    """The `high` bytes of samples, L or RGB, and the `low` bytes of 16-bit samples. `white` is the sample 1.0."""

    high: pil.Image.Image
    low: pil.Image.Image | None = None
    white: int = 255

    def by_bands(self, convert: Callable[[Samples], pil.Image.Image]) -> pil.Image.Image:
        """Convert a few rows at a time to an image of the same mode."""
        width, height = self.high.size
        made, rows = pil.Image.new(self.high.mode, self.high.size), max(1, BAND_PIXELS // width)
        for top in range(0, height, rows):
            box = (0, top, width, min(top + rows, height))
            low = self.low.crop(box) if self.low else None
            made.paste(convert(Samples(self.high.crop(box), low, self.white)), box)
        return made


def compute(formula: Callable[[dict[str, Any]], Any], **images: pil.Image.Image) -> pil.Image.Image:
    """Apply a formula to the pixels of images."""
    made: pil.Image.Image = pil.ImageMath.lambda_eval(formula, **images)
    return made


def reencode(samples: Samples, space: ColorSpace) -> pil.Image.Image:
    """Convert 16-bit samples to 8 bits with the curve of sRGB and the same primaries."""
    return samples.by_bands(lambda band: _reencode_band(band, _table(space, samples.white)))


def _reencode_band(samples: Samples, table: bytes) -> pil.Image.Image:
    """Look up each sample in a table."""
    assert samples.low  # noqa: S101 - samples of 8 bits need no table
    pairs = zip(samples.high.split(), samples.low.split(), strict=True)
    deep = [compute(lambda a: a["high"] * 256 + a["low"], high=high, low=low) for high, low in pairs]
    channels = [channel.point(table, "L") for channel in deep]
    return channels[0] if len(channels) == 1 else pil.Image.merge("RGB", channels)


def reencode_bytes(image: pil.Image.Image, space: ColorSpace) -> pil.Image.Image:
    """Convert L, RGB or RGBA of 8 bits to the curve of sRGB and the same primaries. Keep alpha."""
    alpha = bytes(range(256)) if image.mode == "RGBA" else b""
    colors = len(image.getbands()) - len(image.getbands()[3:])
    return image.point(_byte_table(space) * colors + alpha)


@lru_cache(maxsize=16)
def _byte_table(space: ColorSpace) -> bytes:
    """Return the sample of sRGB for each sample of 8 bits."""
    curve = space.transfer
    assert isinstance(curve, Curve)  # noqa: S101 - tone mapping converts HDR
    return bytes(
        round(255 * SRGB_CURVE.encode(curve.decode(space.full_range(sample / 255, 255)))) for sample in range(256)
    )


@lru_cache(maxsize=8)
def _table(space: ColorSpace, white: int) -> bytes:
    """Return the sample of sRGB for each sample of 16 bits."""
    curve = space.transfer
    assert isinstance(curve, Curve)  # noqa: S101 - tone mapping converts HDR
    steps = white / 256
    return bytes(
        round(255 * SRGB_CURVE.encode(curve.decode(space.full_range(sample / white, steps))))
        for sample in range(LEVELS)
    )
