"""Colouring: gray, tint, duotone, fewer colours, no transparency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from .base import PixelTransform, Scene
from .canvas import flatten
from .constraints import Between, Color, Fraction, Help, rgba
from .pixel_modes import on_colours, with_alpha
from .temporal_smoothing import steady_palette
from .transparency import hides, painted

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Grayscale(PixelTransform):
    """Take the colours out."""

    name: ClassVar[str] = "grayscale"
    example: ClassVar[dict[str, Any]] = {}

    def pixels(self, image: Image.Image, scene: Scene) -> Image.Image:
        """Brightness alone (ITU-R BT.601 weights, as Pillow's L)."""
        return on_colours(image, lambda colours: colours.convert("L"))


@dataclass(frozen=True)
class Flatten(PixelTransform):
    """Put the picture on a background, so that nothing is transparent."""

    name: ClassVar[str] = "flatten"
    example: ClassVar[dict[str, Any]] = {"background": "teal"}
    shorthand: ClassVar[str | None] = "background"

    background: Annotated[Color, Help("what shows through; its own alpha does not count")] = "white"

    def pixels(self, image: Image.Image, scene: Scene) -> Image.Image:
        """The picture without alpha."""
        return flatten(image, rgba(self.background))


@dataclass(frozen=True)
class Tint(PixelTransform):
    """Lay a colour over the picture and keep its light and shade."""

    name: ClassVar[str] = "tint"
    example: ClassVar[dict[str, Any]] = {"color": "orange", "amount": 0.6}
    shorthand: ClassVar[str | None] = "color"

    color: Annotated[Color, Help("the colour of the middle tones")]
    amount: Annotated[Fraction, Help("0 changes nothing, 1 leaves the one colour only")] = 0.5

    def pixels(self, image: Image.Image, scene: Scene) -> Image.Image:
        """The picture mixed with itself in shades of the colour."""
        from PIL import Image, ImageOps

        middle = rgba(self.color)[:3]

        def work(colours: Image.Image) -> Image.Image:
            shades = ImageOps.colorize(colours.convert("L"), (0, 0, 0), (255, 255, 255), mid=middle)
            return Image.blend(colours.convert("RGB"), shades, self.amount)

        return on_colours(image, work)


@dataclass(frozen=True)
class Duotone(PixelTransform):
    """Map dark to one colour and light to another."""

    name: ClassVar[str] = "duotone"
    example: ClassVar[dict[str, Any]] = {"dark": "#1b1464", "light": "#ffd54a"}

    dark: Annotated[Color, Help("what black becomes")]
    light: Annotated[Color, Help("what white becomes")]

    def pixels(self, image: Image.Image, scene: Scene) -> Image.Image:
        """Brightness as a place between the two colours."""
        from PIL import ImageOps

        dark, light = rgba(self.dark)[:3], rgba(self.light)[:3]
        return on_colours(image, lambda colours: ImageOps.colorize(colours.convert("L"), dark, light))


@dataclass(frozen=True)
class Quantize(PixelTransform):
    """Reduce the picture to a few colours."""

    name: ClassVar[str] = "quantize"
    example: ClassVar[dict[str, Any]] = {"colors": 8}
    shorthand: ClassVar[str | None] = "colors"

    colors: Annotated[Annotated[int, Between(2, 256)], Help("how many")] = 16
    dither: Annotated[bool, Help("true: mix the colours in dots, so that gradients show no steps")] = True

    def pixels(self, image: Image.Image, scene: Scene) -> Image.Image:
        """The picture in its own best palette."""
        from PIL import Image

        clear = image.getchannel("A").point([255] + [0] * 255) if hides(image) else None
        seen = painted(image, clear) if clear else image.convert("RGB")
        # Of the methods this one keeps small areas of their own colour; k-means then evens the others out.
        palette = steady_palette(
            scene, self, seen, lambda: seen.quantize(self.colors, Image.Quantize.MAXCOVERAGE, kmeans=2)
        )
        dither = Image.Dither.FLOYDSTEINBERG if self.dither else Image.Dither.NONE
        made = seen.quantize(palette=palette, dither=dither).convert("RGB")
        if clear:
            made.paste((0, 0, 0), (0, 0, *image.size), clear)
        return with_alpha(made, image) if image.mode == "RGBA" else made
