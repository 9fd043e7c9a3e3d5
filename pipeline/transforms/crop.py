"""Crop: a box, or the largest part of a given shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from .base import Outlook, Scene, Transform
from .bounds import Count, Help, Length, pixels
from .failures import Refusal
from .geometry import Aspect, Gravity, anchor, largest, place, ratio
from .picture import Picture, Size


@dataclass(frozen=True)
class Crop(Transform):
    """Cut out a box, or the largest part of a given aspect."""

    name: ClassVar[str] = "crop"
    example: ClassVar[dict[str, Any]] = {"aspect": "16:9", "gravity": "center"}

    box: Annotated[
        Annotated[list[Length], Count(4, 4)] | None,
        Help('left, top, right, bottom: in pixels, or as percentages like "10%" of the width and the height'),
    ] = None
    aspect: Annotated[Aspect | None, Help("width:height of the largest part to keep")] = None
    gravity: Annotated[Gravity, Help("which part an aspect keeps")] = "center"

    def __post_init__(self) -> None:
        """Raise ValueError when there is not exactly one way to crop, or the box is empty."""
        if (self.box is None) == (self.aspect is None):
            raise ValueError("crop takes either box or aspect: give exactly one of them")
        if self.box is not None:
            _check_box(self.box)

    def outlook(self, size: Size) -> Outlook | None:
        """An aspect is the same at any scale; a box is counted in pixels."""
        return Outlook(largest(size, ratio(self.aspect))) if self.aspect else None

    def apply(self, picture: Picture, scene: Scene) -> Picture:
        """The part of the picture that the box or the aspect names."""
        del scene
        if self.box is not None:
            return picture.crop(_inside(self.box, picture.size))
        assert self.aspect is not None  # noqa: S101 - for the type checker: __post_init__ made sure
        part = largest(picture.size, ratio(self.aspect))
        left, top = place(part, picture.size, anchor(self.gravity))
        return picture.crop((left, top, left + part[0], top + part[1]))


def _check_box(box: Sequence[int | str]) -> None:
    for low, high, names in ((box[0], box[2], "left and right"), (box[1], box[3], "top and bottom")):
        if type(low) is type(high) and pixels(low, 1_000_000) >= pixels(high, 1_000_000):
            raise ValueError(f"box is left, top, right, bottom; between {names} ({low}, {high}) there is nothing")


def _inside(box: Sequence[int | str], size: Size) -> tuple[int, int, int, int]:
    """The box in pixels; Refusal when it does not lie inside `size`, or when nothing is in it."""
    left, top, right, bottom = (pixels(length, size[i % 2]) for i, length in enumerate(box))
    if left >= right or top >= bottom or right > size[0] or bottom > size[1]:
        raise Refusal(
            "crop_outside",
            f"the crop box {left},{top},{right},{bottom} (left, top, right, bottom) does not fit an image of "
            f"{size[0]}×{size[1]} pixels: make the box smaller, use percentages, or use an aspect instead",
        )
    return left, top, right, bottom
