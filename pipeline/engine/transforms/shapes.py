"""Shapes: rounded corners and circles with smooth edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from .. import pil
from ..base import PixelTransform, TransformContext
from ..canvas import on_canvas
from ..constraints import Color, Help, Length, rgba, to_pixels
from ..geometry import place
from .focus import focal_after_crop

MASK_OVERSAMPLING = 4
"""Masks are drawn at this many times their size and averaged, because Pillow draws without antialiasing."""


@dataclass(frozen=True)
class RoundedCorners(
    PixelTransform, name="rounded_corners", example={"radius": "20%", "background": "transparent"}, shorthand="radius"
):
    """Round the corners."""

    radius: Annotated[Length, Help("pixels, or a percentage of the shorter side; at most half of it")] = "10%"
    background: Annotated[Color, Help("color of the corners")] = "transparent"

    def transform_pixels(self, image: pil.Image.Image, context: TransformContext) -> pil.Image.Image:
        """Cut off the corners and put the image on the background."""
        shorter = min(image.size)
        return _cut_out(image, min(to_pixels(self.radius, shorter), shorter // 2), self.background)


@dataclass(frozen=True)
class Circle(PixelTransform, name="circle", example={"background": "transparent"}):
    """Cut the largest circle out of the center."""

    background: Annotated[Color, Help("color around the circle")] = "transparent"

    def transform_pixels(self, image: pil.Image.Image, context: TransformContext) -> pil.Image.Image:
        """Crop to the center square and round its corners by half its side."""
        side = min(image.size)
        left, top = place((side, side), image.size, (0.5, 0.5))
        box = (left, top, left + side, top + side)
        context.focal = focal_after_crop(context.focal, image.size, box)
        return _cut_out(image.crop(box), side / 2, self.background)


def _cut_out(image: pil.Image.Image, radius: float, background: str) -> pil.Image.Image:
    """Put the image with rounded corners on the background."""
    shown = image.convert("RGBA")
    shown.putalpha(pil.ImageChops.multiply(shown.getchannel("A"), _mask(image.size, radius)))
    color = rgba(background)
    placed = on_canvas(shown, shown.size, (0, 0), color)
    return placed.convert("RGB") if color[3] == 255 else placed


def _mask(size: tuple[int, int], radius: float) -> pil.Image.Image:
    """Draw a white mask with black corners: draw one corner at a larger scale, and use it four times."""
    mask, side = pil.Image.new("L", size, 255), max(1, -int(-radius // 1))
    if radius <= 0:
        return mask
    corner = pil.Image.new("L", (side * MASK_OVERSAMPLING, side * MASK_OVERSAMPLING), 0)
    reach = round(radius * MASK_OVERSAMPLING * 2)
    pil.ImageDraw.Draw(corner).ellipse((0, 0, reach, reach), fill=255)
    corner = corner.resize((side, side), pil.Image.Resampling.BOX)
    right, bottom = size[0] - side, size[1] - side
    mask.paste(corner, (0, 0))
    mask.paste(pil.ImageOps.mirror(corner), (right, 0))
    mask.paste(pil.ImageOps.flip(corner), (0, bottom))
    mask.paste(pil.ImageOps.flip(pil.ImageOps.mirror(corner)), (right, bottom))
    return mask
