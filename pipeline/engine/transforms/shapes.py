"""Shapes: rounded corners and circles with smooth edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from ..base import PixelTransform, TransformContext
from ..canvas import on_canvas
from ..constraints import Color, Help, Length, rgba, to_pixels
from ..geometry import place
from .focus import focal_after_crop

if TYPE_CHECKING:
    from PIL import Image

MASK_OVERSAMPLING = 4
"""Masks are drawn at this many times their size and averaged, because Pillow draws without antialiasing."""


@dataclass(frozen=True)
class RoundedCorners(PixelTransform):
    """Round the corners."""

    name: ClassVar[str] = "rounded_corners"
    example: ClassVar[dict[str, Any]] = {"radius": "20%", "background": "transparent"}
    shorthand: ClassVar[str | None] = "radius"

    radius: Annotated[Length, Help("pixels, or a percentage of the shorter side; at most half of it")] = "10%"
    background: Annotated[Color, Help("color of the corners")] = "transparent"

    def transform_pixels(self, image: Image.Image, context: TransformContext) -> Image.Image:
        """Cut off the corners and put the image on the background."""
        shorter = min(image.size)
        return _cut_out(image, min(to_pixels(self.radius, shorter), shorter // 2), self.background)


@dataclass(frozen=True)
class Circle(PixelTransform):
    """Cut the largest circle out of the center."""

    name: ClassVar[str] = "circle"
    example: ClassVar[dict[str, Any]] = {"background": "transparent"}

    background: Annotated[Color, Help("color around the circle")] = "transparent"

    def transform_pixels(self, image: Image.Image, context: TransformContext) -> Image.Image:
        """Crop to the center square and round its corners by half its side."""
        side = min(image.size)
        left, top = place((side, side), image.size, (0.5, 0.5))
        box = (left, top, left + side, top + side)
        context.focal = focal_after_crop(context.focal, image.size, box)
        return _cut_out(image.crop(box), side / 2, self.background)


def _cut_out(image: Image.Image, radius: float, background: str) -> Image.Image:
    """Put the image with rounded corners on the background."""
    from PIL import ImageChops

    shown = image.convert("RGBA")
    shown.putalpha(ImageChops.multiply(shown.getchannel("A"), _mask(image.size, radius)))
    color = rgba(background)
    placed = on_canvas(shown, shown.size, (0, 0), color)
    return placed.convert("RGB") if color[3] == 255 else placed


def _mask(size: tuple[int, int], radius: float) -> Image.Image:
    """Draw a white mask with black corners: draw one corner at a larger scale, and use it four times."""
    from PIL import Image, ImageDraw, ImageOps

    mask, side = Image.new("L", size, 255), max(1, -int(-radius // 1))
    if radius <= 0:
        return mask
    corner = Image.new("L", (side * MASK_OVERSAMPLING, side * MASK_OVERSAMPLING), 0)
    reach = round(radius * MASK_OVERSAMPLING * 2)
    ImageDraw.Draw(corner).ellipse((0, 0, reach, reach), fill=255)
    corner = corner.resize((side, side), Image.Resampling.BOX)
    right, bottom = size[0] - side, size[1] - side
    mask.paste(corner, (0, 0))
    mask.paste(ImageOps.mirror(corner), (right, 0))
    mask.paste(ImageOps.flip(corner), (0, bottom))
    mask.paste(ImageOps.flip(ImageOps.mirror(corner)), (right, bottom))
    return mask
