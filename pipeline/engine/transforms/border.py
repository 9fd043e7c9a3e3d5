"""Border and pad: add canvas around the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from .. import pil
from ..base import PixelTransform, TransformContext
from ..canvas import check_canvas, on_canvas
from ..constraints import Color, Help, Length, rgba, to_pixels
from ..geometry import Aspect, Gravity, anchor, aspect_ratio
from .focus import focal_on_canvas


@dataclass(frozen=True)
class Border(PixelTransform, name="border", example={"width": 12, "color": "navy"}, shorthand="width"):
    """Add a border of equal width around the image."""

    width: Annotated[Length, Help("pixels, or a percentage of the shorter side")] = "5%"
    color: Annotated[Color, Help("color of the border")] = "white"

    def transform_pixels(self, image: pil.Image.Image, context: TransformContext) -> pil.Image.Image:
        """Place the image in the center of a larger canvas."""
        width = to_pixels(self.width, min(image.size))
        size = (image.width + 2 * width, image.height + 2 * width)
        check_canvas(size, context.max_pixels, "border")
        context.focal = focal_on_canvas(context.focal, image.size, size, (0.5, 0.5))
        return on_canvas(image, size, (0.5, 0.5), rgba(self.color))


@dataclass(frozen=True)
class Pad(PixelTransform, name="pad", example={"aspect": "1:1", "background": "silver"}, shorthand="aspect"):
    """Add canvas until the image has an aspect ratio, so that nothing is cut off."""

    aspect: Annotated[Aspect, Help("width:height of the result")]
    gravity: Annotated[Gravity, Help("position of the image on the canvas")] = "center"
    background: Annotated[Color, Help("color of the canvas")] = "white"

    def transform_pixels(self, image: pil.Image.Image, context: TransformContext) -> pil.Image.Image:
        """Place the image on the smallest canvas of that aspect ratio."""
        aspect = aspect_ratio(self.aspect)
        size = (max(image.width, round(image.height * aspect)), max(image.height, round(image.width / aspect)))
        check_canvas(size, context.max_pixels, "pad")
        context.focal = focal_on_canvas(context.focal, image.size, size, anchor(self.gravity))
        return on_canvas(image, size, anchor(self.gravity), rgba(self.background))
