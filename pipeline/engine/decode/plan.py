"""What a chain of transforms needs, told from sizes alone: how small the source may be decoded, and what comes out."""

from __future__ import annotations

from collections.abc import Iterable

from ..base import Transform
from ..image_view import Size


def min_decode_scale(size: Size, steps: Iterable[Transform]) -> float:
    """The scale (0 to 1) below which a source of `size` must not be decoded for these steps."""
    for step in steps:
        forecast = step.forecast(size)
        if forecast is None:
            return 1.0
        if forecast.resampled:
            return min(1.0, max(forecast.size[0] / size[0], forecast.size[1] / size[1]))
        size = forecast.size
    return 1.0


def forecast_size(size: Size, steps: Iterable[Transform]) -> Size:
    """About the size that comes out of these steps: good enough to make the bigger renditions first."""
    for step in steps:
        forecast = step.forecast(size)
        size = forecast.size if forecast else size
    return size


def rows_needed(size: Size, chains: Iterable[Iterable[Transform]], first: tuple[str, ...]) -> int:
    """How many rows from the top all the chains need: all, unless each cuts a box out before anything else.

    `first` names the transforms that the engine has done before.
    """
    needed = 1
    for chain in chains:
        step = next((step for step in chain if step.name not in first), None)
        region = step.needed_box(size) if step else None
        needed = max(needed, region[3] if region else size[1])
    return needed
