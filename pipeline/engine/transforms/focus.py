"""Crop gravity: choose the part that a crop keeps, by a side, the focal point, faces or the weight of its parts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

from ..base import TransformContext
from ..constraints import ItemCount
from ..geometry import anchor, place
from ..image_view import Box, ImageView, Size

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
    "face",
    "smart",
]
GravityList = CropGravity | Annotated[list[CropGravity], ItemCount(1, 5)]


def crop_offset(
    gravity: str | Sequence[str], view: ImageView, part: Size, context: TransformContext, step: object
) -> tuple[float, float]:
    """Return the fractions of free space left of and above a crop to `part`.

    `gravity` may be a list: `focal` is skipped without a focal point, `face` without a face or a detector, and `smart`
    for an even image. `face` alone falls back to `smart`. `step` identifies the transform, so that all frames of an
    animation get the same offset.
    """
    if gravity == "face":
        gravity = ("face", "smart")
    for name in [gravity] if isinstance(gravity, str) else gravity:
        if name == "focal":
            if context.focal:
                return _offset_for_point(context.focal, view.size, part)
        elif name in {"face", "smart"}:
            from .smart import face_offset, smart_offset

            find = face_offset if name == "face" else smart_offset
            found = context.decide_once((id(step), name), partial(find, view, part, context))
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
