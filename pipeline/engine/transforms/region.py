"""Regions: boxes of an image, clipped to its edges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from ..constraints import ItemCount, Length, to_pixels
from ..errors import EngineError
from ..image_view import Size

Region = Annotated[list[Length], ItemCount(4, 4)]


def region_box(region: Sequence[int | str] | None, size: Size) -> tuple[int, int, int, int]:
    """Convert a region (left, top, right, bottom) to pixels and clip it to `size`. None stands for the whole image.

    Raises:
        EngineError: no part of the region is inside the image.
    """
    if region is None:
        return 0, 0, *size
    left, top, right, bottom = region_pixels(region, size)
    right, bottom = min(right, size[0]), min(bottom, size[1])
    if left >= right or top >= bottom:
        where = f"{left},{top},{right},{bottom}"
        raise EngineError(
            "crop_outside", f"the region {where} is outside the image of {size[0]}×{size[1]} pixels: change it"
        )
    return left, top, right, bottom


def region_pixels(region: Sequence[int | str], size: Size) -> tuple[int, int, int, int]:
    """Convert a region to pixels without clipping. Different percentages are at least one pixel apart."""
    left, right = _span(region[0], region[2], size[0])
    top, bottom = _span(region[1], region[3], size[1])
    return left, top, right, bottom


def _span(low: int | str, high: int | str, whole: int) -> tuple[int, int]:
    """Convert one side of a region to pixels."""
    start, end = to_pixels(low, whole), to_pixels(high, whole)
    if start == end and isinstance(low, str) and isinstance(high, str):
        start = min(start, whole - 1)
        return start, start + 1
    return start, end
