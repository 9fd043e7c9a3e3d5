"""Color transforms: grayscale, flatten, tint, duotone, quantize."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from ..base import PixelTransform, TransformContext
from ..canvas import flatten
from ..constraints import Color, Fraction, Help, Range, rgba
from ..pixel_modes import on_colors, with_alpha
from ..transparency import fill_transparent, has_hidden_pixels
from .temporal_smoothing import smoothed_palette

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Grayscale(PixelTransform):
    """Remove the colors."""

    name: ClassVar[str] = "grayscale"
    example: ClassVar[dict[str, Any]] = {}

    def transform_pixels(self, image: Image.Image, context: TransformContext) -> Image.Image:
        """Convert to brightness (ITU-R BT.601 weights, as Pillow's L)."""
        return on_colors(image, lambda colors: colors.convert("L"))


@dataclass(frozen=True)
class Flatten(PixelTransform):
    """Put the image on a background, so that nothing is transparent."""

    name: ClassVar[str] = "flatten"
    example: ClassVar[dict[str, Any]] = {"background": "teal"}
    shorthand: ClassVar[str | None] = "background"

    background: Annotated[Color, Help("background color; its alpha is ignored")] = "white"

    def transform_pixels(self, image: Image.Image, context: TransformContext) -> Image.Image:
        """Composite the image onto the background."""
        return flatten(image, rgba(self.background))


@dataclass(frozen=True)
class Tint(PixelTransform):
    """Color the image and keep its light and shade."""

    name: ClassVar[str] = "tint"
    example: ClassVar[dict[str, Any]] = {"color": "orange", "amount": 0.6}
    shorthand: ClassVar[str | None] = "color"

    color: Annotated[Color, Help("color of the midtones")]
    amount: Annotated[Fraction, Help("0 changes nothing, 1 leaves shades of the color only")] = 0.5

    def transform_pixels(self, image: Image.Image, context: TransformContext) -> Image.Image:
        """Blend the image with its shades of the color."""
        from PIL import Image, ImageOps

        middle = rgba(self.color)[:3]

        def work(colors: Image.Image) -> Image.Image:
            shades = ImageOps.colorize(colors.convert("L"), (0, 0, 0), (255, 255, 255), mid=middle)
            return Image.blend(colors.convert("RGB"), shades, self.amount)

        return on_colors(image, work)


@dataclass(frozen=True)
class Duotone(PixelTransform):
    """Map dark tones to one color and light tones to another."""

    name: ClassVar[str] = "duotone"
    example: ClassVar[dict[str, Any]] = {"dark": "#1b1464", "light": "#ffd54a"}

    dark: Annotated[Color, Help("color in place of black")]
    light: Annotated[Color, Help("color in place of white")]

    def transform_pixels(self, image: Image.Image, context: TransformContext) -> Image.Image:
        """Map brightness to a color between the two."""
        from PIL import ImageOps

        dark, light = rgba(self.dark)[:3], rgba(self.light)[:3]
        return on_colors(image, lambda colors: ImageOps.colorize(colors.convert("L"), dark, light))


@dataclass(frozen=True)
class Quantize(PixelTransform):
    """Reduce the image to a few colors."""

    name: ClassVar[str] = "quantize"
    example: ClassVar[dict[str, Any]] = {"colors": 8}
    shorthand: ClassVar[str | None] = "colors"

    colors: Annotated[Annotated[int, Range(2, 256)], Help("number of colors")] = 16
    dither: Annotated[bool, Help("true: dither, so that gradients show no steps")] = True

    def transform_pixels(self, image: Image.Image, context: TransformContext) -> Image.Image:
        """Convert the image to its own best palette."""
        from PIL import Image

        clear = image.getchannel("A").point([255] + [0] * 255) if has_hidden_pixels(image) else None
        seen = fill_transparent(image, clear) if clear else image.convert("RGB")
        # This method keeps the colors of small areas; k-means then balances the others.
        palette = smoothed_palette(
            context, self, seen, lambda: seen.quantize(self.colors, Image.Quantize.MAXCOVERAGE, kmeans=2)
        )
        dither = Image.Dither.FLOYDSTEINBERG if self.dither else Image.Dither.NONE
        made = seen.quantize(palette=palette, dither=dither).convert("RGB")
        if clear:
            made.paste((0, 0, 0), (0, 0, *image.size), clear)
        return with_alpha(made, image) if image.mode == "RGBA" else made
