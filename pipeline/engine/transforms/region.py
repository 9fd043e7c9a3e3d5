"""A region of the picture: as much of it as lies inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from ..constraints import ItemCount, Length, to_pixels
from ..errors import EngineError
from ..image_view import Size

Region = Annotated[list[Length], ItemCount(4, 4)]


def region_box(region: Sequence[int | str] | None, size: Size) -> tuple[int, int, int, int]:
    """The region (left, top, right, bottom) in pixels, cut to `size`; None is all. Refusal when nothing is left."""
    if region is None:
        return 0, 0, *size
    left, top, right, bottom = region_pixels(region, size)
    right, bottom = min(right, size[0]), min(bottom, size[1])
    if left >= right or top >= bottom:
        where = f"{left},{top},{right},{bottom}"
        raise EngineError("crop_outside", f"nothing of {size[0]}×{size[1]} lies in the region {where}: change it")
    return left, top, right, bottom


def region_pixels(region: Sequence[int | str], size: Size) -> tuple[int, int, int, int]:
    """The region in pixels, wherever that is. Percentages that differ are at least one pixel apart."""
    left, right = _span(region[0], region[2], size[0])
    top, bottom = _span(region[1], region[3], size[1])
    return left, top, right, bottom


def _span(low: int | str, high: int | str, whole: int) -> tuple[int, int]:
    start, end = to_pixels(low, whole), to_pixels(high, whole)
    if start == end and isinstance(low, str) and isinstance(high, str):
        start = min(start, whole - 1)
        return start, start + 1
    return start, end
