"""Blur, sharpen, unsharp mask and pixelate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from .. import pil
from ..base import PixelTransform, TransformContext
from ..constraints import Help, Range
from ..pixel_modes import on_colors, on_premultiplied, with_alpha
from ..transparency import bleed_colors, has_hidden_pixels
from .region import Region, region_box


@dataclass(frozen=True)
class Blur(PixelTransform, name="blur", example={"radius": 6}, shorthand="radius"):
    """Blur the image (Gaussian)."""

    radius: Annotated[Annotated[float, Range(0.1, 250)], Help("standard deviation in pixels")] = 2.0

    def transform_pixels(self, image: pil.Image.Image, context: TransformContext) -> pil.Image.Image:
        """Blur all channels, with colors weighted by alpha."""
        return on_premultiplied(image, lambda bands: bands.filter(pil.ImageFilter.GaussianBlur(self.radius)))


@dataclass(frozen=True)
class Sharpen(PixelTransform, name="sharpen", example={"amount": 1.0}, shorthand="amount"):
    """Sharpen slightly, as needed after strong downscaling."""

    amount: Annotated[Annotated[float, Range(0, 5)], Help("0 changes nothing, 1 is clearly visible")] = 0.5

    def transform_pixels(self, image: pil.Image.Image, context: TransformContext) -> pil.Image.Image:
        """Apply an unsharp mask with a radius of one pixel."""
        return _unsharp(image, pil.ImageFilter.UnsharpMask(radius=1, percent=round(self.amount * 100), threshold=2))


@dataclass(frozen=True)
class Unsharp(PixelTransform, name="unsharp", example={"radius": 2, "percent": 150, "threshold": 3}):
    """Sharpen with an unsharp mask of your own settings."""

    radius: Annotated[Annotated[float, Range(0.1, 100)], Help("width of an edge in pixels")] = 2.0
    percent: Annotated[Annotated[int, Range(0, 500)], Help("strength in percent")] = 100
    threshold: Annotated[Annotated[int, Range(0, 255)], Help("smaller differences (0 to 255) stay unchanged")] = 3

    def transform_pixels(self, image: pil.Image.Image, context: TransformContext) -> pil.Image.Image:
        """Apply the unsharp mask to the colors."""
        return _unsharp(image, pil.ImageFilter.UnsharpMask(self.radius, self.percent, self.threshold))


@dataclass(frozen=True)
class Pixelate(
    PixelTransform, name="pixelate", example={"block": 16, "region": ["25%", "25%", "75%", "75%"]}, shorthand="block"
):
    """Pixelate the image, or a region of it."""

    block: Annotated[Annotated[int, Range(2, 1000)], Help("side of a block in pixels")] = 16
    region: Annotated[Region | None, Help("left, top, right, bottom; default: the whole image")] = None

    def transform_pixels(self, image: pil.Image.Image, context: TransformContext) -> pil.Image.Image:
        """Replace blocks of the region by their mean colors."""
        box = region_box(self.region, image.size)
        part = image.crop(box)
        small = (max(1, -(-part.width // self.block)), max(1, -(-part.height // self.block)))
        coarse = part.resize(small, pil.Image.Resampling.BOX).resize(part.size, pil.Image.Resampling.NEAREST)
        image.paste(coarse, box[:2])
        return image


def _unsharp(image: pil.Image.Image, mask: pil.ImageFilter.UnsharpMask) -> pil.Image.Image:
    """Sharpen the colors without a rim from transparent neighbors."""
    if not has_hidden_pixels(image):
        return on_colors(image, lambda colors: colors.filter(mask))
    sharp = bleed_colors(image, 4 * float(mask.radius)).filter(mask)
    # Transparent pixels keep their colors: even areas make small files.
    clear = image.getchannel("A").point([255] + [0] * 255)
    sharp.paste(image.convert("RGB"), (0, 0), clear)
    return with_alpha(sharp, image)
