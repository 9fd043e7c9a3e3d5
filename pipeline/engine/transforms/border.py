"""Border and pad: add canvas around the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from ..base import PixelTransform, TransformContext
from ..canvas import check_canvas, on_canvas
from ..constraints import Color, Help, Length, rgba, to_pixels
from ..geometry import Aspect, Gravity, anchor, aspect_ratio
from .focus import focal_on_canvas

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Border(PixelTransform):
    """Add a border of equal width around the image."""

    name: ClassVar[str] = "border"
    example: ClassVar[dict[str, Any]] = {"width": 12, "color": "navy"}
    shorthand: ClassVar[str | None] = "width"

    width: Annotated[Length, Help("pixels, or a percentage of the shorter side")] = "5%"
    color: Annotated[Color, Help("color of the border")] = "white"

    def transform_pixels(self, image: Image.Image, context: TransformContext) -> Image.Image:
        """Place the image in the center of a larger canvas."""
        width = to_pixels(self.width, min(image.size))
        size = (image.width + 2 * width, image.height + 2 * width)
        check_canvas(size, context.max_pixels, "border")
        context.focal = focal_on_canvas(context.focal, image.size, size, (0.5, 0.5))
        return on_canvas(image, size, (0.5, 0.5), rgba(self.color))


@dataclass(frozen=True)
class Pad(PixelTransform):
    """Add canvas until the image has an aspect ratio, so that nothing is cut off."""

    name: ClassVar[str] = "pad"
    example: ClassVar[dict[str, Any]] = {"aspect": "1:1", "background": "silver"}
    shorthand: ClassVar[str | None] = "aspect"

    aspect: Annotated[Aspect, Help("width:height of the result")]
    gravity: Annotated[Gravity, Help("position of the image on the canvas")] = "center"
    background: Annotated[Color, Help("color of the canvas")] = "white"

    def transform_pixels(self, image: Image.Image, context: TransformContext) -> Image.Image:
        """Place the image on the smallest canvas of that aspect ratio."""
        aspect = aspect_ratio(self.aspect)
        size = (max(image.width, round(image.height * aspect)), max(image.height, round(image.width / aspect)))
        check_canvas(size, context.max_pixels, "pad")
        context.focal = focal_on_canvas(context.focal, image.size, size, anchor(self.gravity))
        return on_canvas(image, size, anchor(self.gravity), rgba(self.background))
