"""Tone transforms: autocontrast, equalize, brightness, contrast, saturation, gamma."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from .. import pil
from ..base import PixelTransform, TransformContext
from ..constraints import Help, Range
from ..pixel_modes import on_colors
from .temporal_smoothing import brightness_histogram, equalize_table, mean_level, smoothed, stretch_table, visible_mask

Factor = Annotated[float, Range(0, 10)]


@dataclass(frozen=True)
class Autocontrast(PixelTransform, name="autocontrast", example={"cutoff": 1}, shorthand="cutoff"):
    """Stretch the tones so that the darkest becomes black and the lightest becomes white."""

    cutoff: Annotated[Annotated[float, Range(0, 49)], Help("percent of the pixels to ignore at each end")] = 0.5

    def transform_pixels(self, image: pil.Image.Image, context: TransformContext) -> pil.Image.Image:
        """Apply one table to all channels, so that colors get no tint."""
        table = smoothed(context, self, image, lambda: stretch_table(brightness_histogram(image), self.cutoff))
        return on_colors(image, lambda colors: colors.point(table * len(colors.getbands())))


@dataclass(frozen=True)
class Equalize(PixelTransform, name="equalize", example={}):
    """Distribute the tones evenly."""

    def transform_pixels(self, image: pil.Image.Image, context: TransformContext) -> pil.Image.Image:
        """Equalize the brightness; colors keep their hue."""

        def work(colors: pil.Image.Image) -> pil.Image.Image:
            light, *rest = colors.split() if colors.mode == "L" else colors.convert("YCbCr").split()
            table = smoothed(context, self, image, lambda: equalize_table(light.histogram(visible_mask(image))))
            light = light.point(table)
            return pil.Image.merge("YCbCr", (light, *rest)).convert("RGB") if rest else light

        return on_colors(image, work)


@dataclass(frozen=True)
class Brightness(PixelTransform, name="brightness", example={"factor": 1.3}, shorthand="factor"):
    """Make the image brighter or darker."""

    factor: Annotated[Factor, Help("1 changes nothing, 0 is black")]

    def transform_pixels(self, image: pil.Image.Image, context: TransformContext) -> pil.Image.Image:
        """Multiply all channels by the factor."""
        table = [min(255, round(value * self.factor)) for value in range(256)]
        return on_colors(image, lambda colors: colors.point(table * len(colors.getbands())))


@dataclass(frozen=True)
class Contrast(PixelTransform, name="contrast", example={"factor": 1.4}, shorthand="factor"):
    """Raise or lower the contrast."""

    factor: Annotated[Factor, Help("1 changes nothing, 0 is uniform gray")]

    def transform_pixels(self, image: pil.Image.Image, context: TransformContext) -> pil.Image.Image:
        """Scale the distance of all channels from the mean brightness by the factor."""
        middle = smoothed(context, self, image, lambda: mean_level(brightness_histogram(image)))
        gray = pil.Image.new("L", image.size, middle)
        return on_colors(image, lambda colors: pil.Image.blend(gray.convert(colors.mode), colors, self.factor))


@dataclass(frozen=True)
class Saturation(PixelTransform, name="saturation", example={"factor": 1.6}, shorthand="factor"):
    """Make colors stronger or weaker."""

    factor: Annotated[Factor, Help("1 changes nothing, 0 is gray")]

    def transform_pixels(self, image: pil.Image.Image, context: TransformContext) -> pil.Image.Image:
        """Scale the distance of all colors from gray of their brightness by the factor."""
        return on_colors(image, lambda colors: pil.ImageEnhance.Color(colors).enhance(self.factor))


@dataclass(frozen=True)
class Gamma(PixelTransform, name="gamma", example={"value": 1.5}, shorthand="value"):
    """Lighten or darken the midtones; black and white stay unchanged."""

    value: Annotated[Annotated[float, Range(0.1, 10)], Help("above 1 is lighter, below 1 darker")]

    def transform_pixels(self, image: pil.Image.Image, context: TransformContext) -> pil.Image.Image:
        """Raise all channels, as fractions, to the power of 1 / value."""
        table = [round(255 * (value / 255) ** (1 / self.value)) for value in range(256)]
        return on_colors(image, lambda colors: colors.point(table * len(colors.getbands())))
