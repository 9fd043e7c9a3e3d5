"""Rotate and flip."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from .. import pil
from ..base import PixelTransform, TransformContext
from ..canvas import check_canvas, on_canvas
from ..constraints import Color, Help, Range, rgba


@dataclass(frozen=True)
class Rotate(PixelTransform, name="rotate", example={"degrees": 15, "background": "navy"}, shorthand="degrees"):
    """Rotate the image clockwise by any angle; quarter turns are exact."""

    degrees: Annotated[
        Annotated[float, Range(-360, 360)], Help("angle in degrees, clockwise; negative is counterclockwise")
    ]
    background: Annotated[Color, Help("color of the corners")] = "white"
    expand: Annotated[bool, Help("true: enlarge the canvas so that no corner is cut off")] = True

    def transform_pixels(self, image: pil.Image.Image, context: TransformContext) -> pil.Image.Image:
        """Rotate the image and fill its corners with the background."""
        context.focal = None
        if self.degrees % 90 == 0 and (self.expand or self.degrees % 180 == 0):
            return image.rotate(-self.degrees, expand=True)
        if self.expand:
            check_canvas(_turned(image.size, self.degrees), context.max_pixels, "rotate")
        clear = image.convert("RGBA")
        turned = clear.rotate(-self.degrees, pil.Image.Resampling.BICUBIC, expand=self.expand)
        color = rgba(self.background)
        placed = on_canvas(turned, turned.size, (0, 0), color)
        return placed.convert("RGB") if color[3] == 255 and image.mode != "RGBA" else placed


def _turned(size: tuple[int, int], degrees: float) -> tuple[int, int]:
    """Return the canvas size of a rotated image of `size`."""
    across, up = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    width, height = size
    return math.ceil(width * across + height * up), math.ceil(width * up + height * across)


@dataclass(frozen=True)
class Flip(PixelTransform, name="flip", example={"axis": "horizontal"}, shorthand="axis"):
    """Mirror the image."""

    axis: Annotated[
        Literal["horizontal", "vertical"], Help("horizontal swaps left and right, vertical swaps top and bottom")
    ] = "horizontal"

    def transform_pixels(self, image: pil.Image.Image, context: TransformContext) -> pil.Image.Image:
        """Mirror the image and the focal point."""
        sideways = self.axis == "horizontal"
        if context.focal:
            across, down = context.focal
            context.focal = (1 - across, down) if sideways else (across, 1 - down)
        return image.transpose(pil.Image.Transpose.FLIP_LEFT_RIGHT if sideways else pil.Image.Transpose.FLIP_TOP_BOTTOM)
