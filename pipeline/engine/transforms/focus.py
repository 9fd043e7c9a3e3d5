"""Crop gravity: choose the part that a crop keeps, by a side, the focal point or the most detail."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Annotated, Literal

from .. import pil
from ..base import TransformContext
from ..constraints import ItemCount
from ..geometry import anchor, place
from ..image_view import Box, ImageView, Size, resampling

CropGravity = Literal[
    "center",
    "top",
    "bottom",
    "left",
    "right",
    "top-left",
    "top-right",
    "bottom-left",
    "bottom-right",
    "focal",
    "smart",
]
GravityList = CropGravity | Annotated[list[CropGravity], ItemCount(1, 5)]

SMART_SIDE_PIXELS = 128
"""Side in pixels of the thumbnail that `smart` analyzes."""


def crop_offset(
    gravity: str | Sequence[str], view: ImageView, part: Size, context: TransformContext, step: object
) -> tuple[float, float]:
    """Return the fractions of free space left of and above a crop to `part`.

    `gravity` may be a list: `focal` is skipped without a focal point, and `smart` for an even image. `step` identifies
    the transform, so that all frames of an animation get the same offset.
    """
    for name in [gravity] if isinstance(gravity, str) else gravity:
        if name == "focal":
            if context.focal:
                return _offset_for_point(context.focal, view.size, part)
        elif name == "smart":
            found = context.decide_once((id(step), "smart"), lambda: _busiest_offset(view, part))
            if found:
                return found
        else:
            return anchor(name)
    return 0.5, 0.5


def _offset_for_point(point: tuple[float, float], size: Size, part: Size) -> tuple[float, float]:
    """Return the offset that brings `point` nearest to the center of the part."""
    shares = []
    for at, whole, kept in zip(point, size, part, strict=True):
        room = whole - kept
        start = min(max(at * whole - kept / 2, 0), room)
        shares.append(start / room if room > 0 else 0.5)
    return shares[0], shares[1]


def focal_after_crop(point: tuple[float, float] | None, size: Size, box: Box) -> tuple[float, float] | None:
    """Convert a focal point to fractions of the cropped box; a point outside moves to the edge."""
    if point is None:
        return None
    across = (point[0] * size[0] - box[0]) / (box[2] - box[0])
    down = (point[1] * size[1] - box[1]) / (box[3] - box[1])
    return min(max(across, 0.0), 1.0), min(max(down, 0.0), 1.0)


def focal_on_canvas(
    point: tuple[float, float] | None, size: Size, canvas: Size, anchor: tuple[float, float]
) -> tuple[float, float] | None:
    """Convert a focal point to fractions of a larger canvas, on which `anchor` places the image."""
    left, top = place(size, canvas, anchor)
    return focal_after_crop(point, size, (-left, -top, canvas[0] - left, canvas[1] - top))


def _busiest_offset(view: ImageView, part: Size) -> tuple[float, float] | None:
    """Return the offset that keeps the most edges; None for an even image.

    A crop to an aspect ratio moves along one side only, so sums of edges per column (or row) are sufficient.
    """
    small = view.thumbnail(SMART_SIDE_PIXELS)
    edges = _edges(small)
    shares = []
    for axis in (0, 1):
        line = edges.resize((small.width, 1) if axis == 0 else (1, small.height), resampling("box")).tobytes()
        kept = max(1, round(part[axis] / view.size[axis] * len(line)))
        shares.append(_best_window(line, kept))
    if all(share is None for share in shares):
        return None
    across, down = (0.5 if share is None else share for share in shares)
    return across, down


def _edges(image: pil.Image.Image) -> pil.Image.Image:
    """Return the difference of each pixel from its neighbors, in the color channel where it is largest."""
    colors = image.convert("RGB")
    found = [pil.ImageOps.expand(band, 1).filter(pil.ImageFilter.FIND_EDGES) for band in colors.split()]
    strongest = pil.ImageChops.lighter(pil.ImageChops.lighter(found[0], found[1]), found[2])
    # The outermost pixels differ from the padding around them; ignore them.
    inner = strongest.crop((2, 2, strongest.width - 2, strongest.height - 2)) if min(strongest.size) > 4 else strongest
    canvas = pil.Image.new("L", image.size)
    canvas.paste(inner, (1, 1))
    return canvas.point([min(255, value * 2) for value in range(256)])


def _best_window(line: bytes, kept: int) -> float | None:
    """Return the offset of the window of `kept` values with the largest sum, as a fraction of the free space."""
    room = len(line) - kept
    if room <= 0 or max(line) - min(line) < 4:
        return None
    sums = [0, *accumulate(line)]
    # Among nearly equal windows, prefer the middle one.
    scores = [(sums[at + kept] - sums[at]) * 1000 - abs(2 * at - room) for at in range(room + 1)]
    return scores.index(max(scores)) / room
