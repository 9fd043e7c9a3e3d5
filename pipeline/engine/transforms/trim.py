"""Trim: even margins cut off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from ..base import Transform, TransformContext
from ..canvas import flatten
from ..constraints import Help, Range
from ..image_view import ImageView
from .focus import focal_after_crop

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Trim(Transform):
    """Cut off margins that look like the corners (or that are transparent)."""

    name: ClassVar[str] = "trim"
    example: ClassVar[dict[str, Any]] = {"tolerance": 20}
    shorthand: ClassVar[str | None] = "tolerance"

    tolerance: Annotated[
        Annotated[int, Range(0, 255)], Help("how far, per channel, a margin may be from its corner")
    ] = 10

    def apply(self, view: ImageView, context: TransformContext) -> ImageView:
        """The picture without its margins; as it is when it is one even area."""
        box = context.decide_once((id(self), "box"), lambda: self._content(view.read_pixels()))
        if box is None:
            return view
        context.focal = focal_after_crop(context.focal, view.size, box)
        return view.crop(box)

    def _content(self, image: Image.Image) -> tuple[int, int, int, int] | None:
        """The box around everything that is neither transparent nor like the top left corner."""
        from PIL import Image, ImageChops

        if image.mode == "RGBA" and (box := image.getchannel("A").getbbox()) != (0, 0, *image.size):
            return box
        colors = flatten(image, (255, 255, 255, 255))
        corner = colors.getpixel((0, 0))
        difference = ImageChops.difference(colors, Image.new(colors.mode, colors.size, corner))
        strongest = difference.split()[0]
        for band in difference.split()[1:]:
            strongest = ImageChops.lighter(strongest, band)
        return strongest.point([255 if value > self.tolerance else 0 for value in range(256)]).getbbox()
