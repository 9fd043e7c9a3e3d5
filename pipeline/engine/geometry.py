"""Where things lie in a rectangle: gravity, aspects, sizes that are never empty."""

from __future__ import annotations

from typing import Annotated, Literal

from .constraints import StringRule, to_pixels
from .image_view import Box, Size

Gravity = Literal["center", "top", "bottom", "left", "right", "top-left", "top-right", "bottom-left", "bottom-right"]
Aspect = Annotated[str, StringRule("an aspect is like 16:9, up to 9999:9999", r"^[1-9]\d{0,3}:[1-9]\d{0,3}$")]

MAX_MARGIN_FRACTION = 0.45
"""Of the shorter side: more would leave no room for anything."""
MARGIN_HELP = f", of which it is {MAX_MARGIN_FRACTION:.0%} at most"


def anchor(gravity: str) -> tuple[float, float]:
    """A gravity as fractions of the free room: 0 is left or top, 1 is right or bottom."""
    across = 0.0 if "left" in gravity else 1.0 if "right" in gravity else 0.5
    down = 0.0 if "top" in gravity else 1.0 if "bottom" in gravity else 0.5
    return across, down


def aspect_ratio(aspect: str) -> float:
    """Width over height of an aspect like "16:9"."""
    width, height = aspect.split(":")
    return int(width) / int(height)


def largest_inside(size: Size, aspect: float) -> Size:
    """The largest size of that width over height inside `size`; no side is ever 0."""
    width, height = size
    if width > height * aspect:
        return max(1, round(height * aspect)), height
    return width, max(1, round(width / aspect))


def scaled(size: Size, factor: float) -> Size:
    """Both sides times `factor`, rounded; no side is ever 0."""
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def margin_pixels(margin: int | str, size: Size) -> int:
    """A margin in pixels, small enough that something fits between two of them."""
    return min(to_pixels(margin, min(size)), int(min(size) * MAX_MARGIN_FRACTION))


def place(inner: Size, outer: Size, anchor: tuple[float, float]) -> tuple[int, int]:
    """The left top corner of `inner` in `outer`, its free room shared out as `at` says."""
    return round((outer[0] - inner[0]) * anchor[0]), round((outer[1] - inner[1]) * anchor[1])


def cover_box(outer: Size, aspect: float, anchor: tuple[float, float]) -> Box:
    """The largest part of `outer` with that width over height, to a fraction of a pixel: nothing is distorted."""
    width, height = outer
    part = (height * aspect, float(height)) if width > height * aspect else (float(width), width / aspect)
    left, top = (width - part[0]) * anchor[0], (height - part[1]) * anchor[1]
    return left, top, left + part[0], top + part[1]
