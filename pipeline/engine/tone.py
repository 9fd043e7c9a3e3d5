"""Tones: contrast, brightness, saturation, gamma, and what they are by themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from .base import PixelTransform, Scene
from .constraints import Between, Help
from .pixel_modes import on_colours
from .temporal_smoothing import equalized, levels, mean, shown, steady, stretched

if TYPE_CHECKING:
    from PIL import Image

Factor = Annotated[float, Between(0, 10)]


@dataclass(frozen=True)
class Autocontrast(PixelTransform):
    """Stretch the tones so that the darkest becomes black and the lightest white."""

    name: ClassVar[str] = "autocontrast"
    example: ClassVar[dict[str, Any]] = {"cutoff": 1}
    shorthand: ClassVar[str | None] = "cutoff"

    cutoff: Annotated[Annotated[float, Between(0, 49)], Help("percent of the pixels to ignore at each end")] = 0.5

    def pixels(self, image: Image.Image, scene: Scene) -> Image.Image:
        """All channels by one measure, so that no colour is tinted."""
        table = steady(scene, self, image, lambda: stretched(levels(image), self.cutoff))
        return on_colours(image, lambda colours: colours.point(table * len(colours.getbands())))


@dataclass(frozen=True)
class Equalize(PixelTransform):
    """Spread the tones so that each is used as often as any other."""

    name: ClassVar[str] = "equalize"
    example: ClassVar[dict[str, Any]] = {}

    def pixels(self, image: Image.Image, scene: Scene) -> Image.Image:
        """Brightness is spread; colours keep their hue."""
        from PIL import Image

        def work(colours: Image.Image) -> Image.Image:
            light, *rest = colours.split() if colours.mode == "L" else colours.convert("YCbCr").split()
            table = steady(scene, self, image, lambda: equalized(light.histogram(shown(image))))
            light = light.point(table)
            return Image.merge("YCbCr", (light, *rest)).convert("RGB") if rest else light

        return on_colours(image, work)


@dataclass(frozen=True)
class Brightness(PixelTransform):
    """Make the picture brighter or darker."""

    name: ClassVar[str] = "brightness"
    example: ClassVar[dict[str, Any]] = {"factor": 1.3}
    shorthand: ClassVar[str | None] = "factor"

    factor: Annotated[Factor, Help("1 changes nothing, 0 is black")]

    def pixels(self, image: Image.Image, scene: Scene) -> Image.Image:
        """Every channel times the factor."""
        table = [min(255, round(value * self.factor)) for value in range(256)]
        return on_colours(image, lambda colours: colours.point(table * len(colours.getbands())))


@dataclass(frozen=True)
class Contrast(PixelTransform):
    """Pull tones apart or together."""

    name: ClassVar[str] = "contrast"
    example: ClassVar[dict[str, Any]] = {"factor": 1.4}
    shorthand: ClassVar[str | None] = "factor"

    factor: Annotated[Factor, Help("1 changes nothing, 0 is an even gray")]

    def pixels(self, image: Image.Image, scene: Scene) -> Image.Image:
        """Every channel away from the picture's mean brightness, by the factor."""
        from PIL import Image

        middle = steady(scene, self, image, lambda: mean(levels(image)))
        gray = Image.new("L", image.size, middle)
        return on_colours(image, lambda colours: Image.blend(gray.convert(colours.mode), colours, self.factor))


@dataclass(frozen=True)
class Saturation(PixelTransform):
    """Make colours stronger or weaker."""

    name: ClassVar[str] = "saturation"
    example: ClassVar[dict[str, Any]] = {"factor": 1.6}
    shorthand: ClassVar[str | None] = "factor"

    factor: Annotated[Factor, Help("1 changes nothing, 0 is gray")]

    def pixels(self, image: Image.Image, scene: Scene) -> Image.Image:
        """Every colour away from the gray of its brightness, by the factor."""
        from PIL import ImageEnhance

        return on_colours(image, lambda colours: ImageEnhance.Color(colours).enhance(self.factor))


@dataclass(frozen=True)
class Gamma(PixelTransform):
    """Lighten or darken the middle tones and leave black and white alone."""

    name: ClassVar[str] = "gamma"
    example: ClassVar[dict[str, Any]] = {"value": 1.5}
    shorthand: ClassVar[str | None] = "value"

    value: Annotated[Annotated[float, Between(0.1, 10)], Help("above 1 is lighter, below 1 darker")]

    def pixels(self, image: Image.Image, scene: Scene) -> Image.Image:
        """Every channel, as a fraction, to the power of 1 / value."""
        table = [round(255 * (value / 255) ** (1 / self.value)) for value in range(256)]
        return on_colours(image, lambda colours: colours.point(table * len(colours.getbands())))
