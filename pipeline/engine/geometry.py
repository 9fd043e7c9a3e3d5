"""Geometry: gravity, aspect ratios, and sizes with no side of 0 pixels."""

from __future__ import annotations

from typing import Annotated, Literal

from .constraints import StringRule, to_pixels
from .image_view import Box, Size

Gravity = Literal["center", "top", "bottom", "left", "right", "top-left", "top-right", "bottom-left", "bottom-right"]
Aspect = Annotated[str, StringRule("an aspect ratio is like 16:9, up to 9999:9999", r"^[1-9]\d{0,3}:[1-9]\d{0,3}$")]

MAX_MARGIN_FRACTION = 0.45
"""Largest margin as a fraction of the shorter side; a larger one would leave too little space."""
MARGIN_HELP = f"; at most {MAX_MARGIN_FRACTION:.0%} of it"


def anchor(gravity: str) -> tuple[float, float]:
    """Convert a gravity to fractions of the free space: 0 is left or top, 1 is right or bottom."""
    across = 0.0 if "left" in gravity else 1.0 if "right" in gravity else 0.5
    down = 0.0 if "top" in gravity else 1.0 if "bottom" in gravity else 0.5
    return across, down


def aspect_ratio(aspect: str) -> float:
    """Return width divided by height of an aspect ratio like "16:9"."""
    width, height = aspect.split(":")
    return int(width) / int(height)


def largest_inside(size: Size, aspect: float) -> Size:
    """Return the largest size of an aspect ratio that fits into `size`; each side has at least 1 pixel."""
    width, height = size
    if width > height * aspect:
        return max(1, round(height * aspect)), height
    return width, max(1, round(width / aspect))


def scaled(size: Size, factor: float) -> Size:
    """Multiply both sides by `factor` and round them; each side has at least 1 pixel."""
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def margin_pixels(margin: int | str, size: Size) -> int:
    """Convert a margin to pixels and limit it to `MAX_MARGIN_FRACTION` of the shorter side."""
    return min(to_pixels(margin, min(size)), int(min(size) * MAX_MARGIN_FRACTION))


def place(inner: Size, outer: Size, anchor: tuple[float, float]) -> tuple[int, int]:
    """Return the left top corner of `inner` in `outer`; `anchor` divides the free space (see `anchor`)."""
    return round((outer[0] - inner[0]) * anchor[0]), round((outer[1] - inner[1]) * anchor[1])


def cover_box(outer: Size, aspect: float, anchor: tuple[float, float]) -> Box:
    """Return the largest box of an aspect ratio in `outer`, in fractions of a pixel so that nothing is distorted."""
    width, height = outer
    part = (height * aspect, float(height)) if width > height * aspect else (float(width), width / aspect)
    left, top = (width - part[0]) * anchor[0], (height - part[1]) * anchor[1]
    return left, top, left + part[0], top + part[1]
