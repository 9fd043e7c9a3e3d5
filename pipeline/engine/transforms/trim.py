"""Trim: cut off uniform margins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from .. import pil
from ..base import Transform, TransformContext
from ..canvas import flatten
from ..constraints import Help, Range
from ..image_view import ImageView
from .focus import focal_after_crop


@dataclass(frozen=True)
class Trim(Transform, name="trim", example={"tolerance": 20}, shorthand="tolerance"):
    """Cut off margins that match the top left corner, or that are transparent."""

    tolerance: Annotated[
        Annotated[int, Range(0, 255)], Help("largest difference per channel (0 to 255) between margin and corner")
    ] = 10

    def apply(self, view: ImageView, context: TransformContext) -> ImageView:
        """Cut off the margins. A uniform image stays unchanged."""
        box = context.decide_once((id(self), "box"), lambda: self._content(view.read_pixels()))
        if box is None:
            return view
        context.focal = focal_after_crop(context.focal, view.size, box)
        return view.crop(box)

    def _content(self, image: pil.Image.Image) -> tuple[int, int, int, int] | None:
        """Return the box around all pixels that are neither transparent nor similar to the top left corner."""
        if image.mode == "RGBA" and (box := image.getchannel("A").getbbox()) != (0, 0, *image.size):
            return box
        colors = flatten(image, (255, 255, 255, 255))
        corner = colors.getpixel((0, 0))
        difference = pil.ImageChops.difference(colors, pil.Image.new(colors.mode, colors.size, corner))
        strongest = difference.split()[0]
        for band in difference.split()[1:]:
            strongest = pil.ImageChops.lighter(strongest, band)
        return strongest.point([255 if value > self.tolerance else 0 for value in range(256)]).getbbox()
