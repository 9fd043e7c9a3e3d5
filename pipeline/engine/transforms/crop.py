"""Crop: cut out a box, or the largest part of an aspect ratio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from ..base import SizeForecast, Transform, TransformContext
from ..constraints import Help, to_pixels
from ..errors import EngineError
from ..geometry import Aspect, aspect_ratio, largest_inside, place
from ..image_view import ImageView, Size
from .focus import GravityList, crop_offset, focal_after_crop
from .region import Region, region_pixels


@dataclass(frozen=True)
class Crop(Transform, name="crop", example={"aspect": "1:1", "gravity": ["focal", "smart", "center"]}):
    """Cut out a box, or the largest part of an aspect ratio."""

    box: Annotated[
        Region | None,
        Help('left, top, right, bottom: in pixels, or as percentages of width and height like "10%"'),
    ] = None
    aspect: Annotated[Aspect | None, Help("width:height of the largest part to keep")] = None
    gravity: Annotated[
        GravityList,
        Help(
            "the part that aspect keeps: a side, focal (the source's focal point), face (detected faces), smart (heads "
            "and what stands out), or a list of these to try in turn"
        ),
    ] = "center"

    def __post_init__(self) -> None:
        """Check that the recipe gives exactly one of `box` and `aspect`, and that the box is not empty."""
        if (self.box is None) == (self.aspect is None):
            raise ValueError("crop takes either box or aspect: give exactly one of them")
        if self.box is not None:
            _check_box(self.box)

    def forecast(self, size: Size) -> SizeForecast | None:
        """Forecast the size of an aspect ratio, which is independent of scale. A box counts in pixels."""
        return SizeForecast(largest_inside(size, aspect_ratio(self.aspect))) if self.aspect else None

    def needed_box(self, size: Size) -> tuple[int, int, int, int] | None:
        """Return the crop box."""
        return _box_inside(self.box, size) if self.box is not None else None

    def apply(self, view: ImageView, context: TransformContext) -> ImageView:
        """Move the view to the box, and the focal point with it."""
        box = _box_inside(self.box, view.size) if self.box is not None else self._by_aspect(view, context)
        context.focal = focal_after_crop(context.focal, view.size, box)
        return view.crop(box)

    def _by_aspect(self, view: ImageView, context: TransformContext) -> tuple[int, int, int, int]:
        """Choose the box for the aspect ratio."""
        part = largest_inside(view.size, aspect_ratio(self.aspect or "1:1"))
        left, top = place(part, view.size, crop_offset(self.gravity, view, part, context, self))
        return left, top, left + part[0], top + part[1]


def _check_box(box: Sequence[int | str]) -> None:
    """Check that the box is not empty, where both sides have the same unit."""
    for low, high, names in ((box[0], box[2], "left and right"), (box[1], box[3], "top and bottom")):
        if type(low) is type(high) and to_pixels(low, 1_000_000) >= to_pixels(high, 1_000_000):
            raise ValueError(f"box is left, top, right, bottom; it is empty between {names} ({low}, {high})")


def _box_inside(box: Sequence[int | str], size: Size) -> tuple[int, int, int, int]:
    """Convert the box to pixels.

    Raises:
        EngineError: the box is empty, or not inside an image of `size`.
    """
    left, top, right, bottom = region_pixels(box, size)
    if left >= right or top >= bottom or right > size[0] or bottom > size[1]:
        raise EngineError(
            "crop_outside",
            f"the crop box {left},{top},{right},{bottom} (left, top, right, bottom) does not fit an image of "
            f"{size[0]}×{size[1]} pixels: make the box smaller, or use percentages or an aspect ratio",
        )
    return left, top, right, bottom
