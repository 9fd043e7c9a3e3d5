"""Color transforms: grayscale, flatten, tint, duotone, quantize."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from .. import pil
from ..base import PixelTransform, TransformContext
from ..canvas import flatten
from ..constraints import Color, Fraction, Help, Range, rgba
from ..pixel_modes import on_colors, with_alpha
from ..transparency import fill_transparent, has_hidden_pixels
from .temporal_smoothing import smoothed_palette


@dataclass(frozen=True)
class Grayscale(PixelTransform, name="grayscale", example={}):
    """Remove the colors."""

    def transform_pixels(self, image: pil.Image.Image, context: TransformContext) -> pil.Image.Image:
        """Convert to brightness (ITU-R BT.601 weights, as Pillow's L)."""
        return on_colors(image, lambda colors: colors.convert("L"))


@dataclass(frozen=True)
class Flatten(PixelTransform, name="flatten", example={"background": "teal"}, shorthand="background"):
    """Put the image on a background, so that nothing is transparent."""

    background: Annotated[Color, Help("background color; its alpha is ignored")] = "white"

    def transform_pixels(self, image: pil.Image.Image, context: TransformContext) -> pil.Image.Image:
        """Composite the image onto the background."""
        return flatten(image, rgba(self.background))


@dataclass(frozen=True)
class Tint(PixelTransform, name="tint", example={"color": "orange", "amount": 0.6}, shorthand="color"):
    """Color the image and keep its light and shade."""

    color: Annotated[Color, Help("color of the midtones")]
    amount: Annotated[Fraction, Help("0 changes nothing, 1 leaves shades of the color only")] = 0.5

    def transform_pixels(self, image: pil.Image.Image, context: TransformContext) -> pil.Image.Image:
        """Blend the image with its shades of the color."""
        middle = rgba(self.color)[:3]

        def work(colors: pil.Image.Image) -> pil.Image.Image:
            shades = pil.ImageOps.colorize(colors.convert("L"), (0, 0, 0), (255, 255, 255), mid=middle)
            return pil.Image.blend(colors.convert("RGB"), shades, self.amount)

        return on_colors(image, work)


@dataclass(frozen=True)
class Duotone(PixelTransform, name="duotone", example={"dark": "#1b1464", "light": "#ffd54a"}):
    """Map dark tones to one color and light tones to another."""

    dark: Annotated[Color, Help("color in place of black")]
    light: Annotated[Color, Help("color in place of white")]

    def transform_pixels(self, image: pil.Image.Image, context: TransformContext) -> pil.Image.Image:
        """Map brightness to a color between the two."""
        dark, light = rgba(self.dark)[:3], rgba(self.light)[:3]
        return on_colors(image, lambda colors: pil.ImageOps.colorize(colors.convert("L"), dark, light))


@dataclass(frozen=True)
class Quantize(PixelTransform, name="quantize", example={"colors": 8}, shorthand="colors"):
    """Reduce the image to a few colors."""

    colors: Annotated[Annotated[int, Range(2, 256)], Help("number of colors")] = 16
    dither: Annotated[bool, Help("true: dither, so that gradients show no steps")] = True

    def transform_pixels(self, image: pil.Image.Image, context: TransformContext) -> pil.Image.Image:
        """Convert the image to its own best palette."""
        clear = image.getchannel("A").point([255] + [0] * 255) if has_hidden_pixels(image) else None
        seen = fill_transparent(image, clear) if clear else image.convert("RGB")
        # This method keeps the colors of small areas; k-means then balances the others.
        palette = smoothed_palette(
            context, self, seen, lambda: seen.quantize(self.colors, pil.Image.Quantize.MAXCOVERAGE, kmeans=2)
        )
        dither = pil.Image.Dither.FLOYDSTEINBERG if self.dither else pil.Image.Dither.NONE
        made = seen.quantize(palette=palette, dither=dither).convert("RGB")
        if clear:
            made.paste((0, 0, 0), (0, 0, *image.size), clear)
        return with_alpha(made, image) if image.mode == "RGBA" else made
