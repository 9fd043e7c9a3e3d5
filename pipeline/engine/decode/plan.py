"""Decode planning: derive the decode scale and result sizes of a chain of transforms from sizes alone."""

from __future__ import annotations

from collections.abc import Iterable

from ..base import Transform
from ..image_view import Size


def min_decode_scale(size: Size, steps: Iterable[Transform]) -> float:
    """Return the smallest scale (0 to 1) at which a source of `size` may be decoded for these steps."""
    for step in steps:
        forecast = step.forecast(size)
        if forecast is None:
            return 1.0
        if forecast.resampled:
            return min(1.0, max(forecast.size[0] / size[0], forecast.size[1] / size[1]))
        size = forecast.size
    return 1.0


def forecast_size(size: Size, steps: Iterable[Transform]) -> Size:
    """Forecast the size after these steps, precise enough to make larger renditions first."""
    for step in steps:
        forecast = step.forecast(size)
        size = forecast.size if forecast else size
    return size


def rows_needed(size: Size, chains: Iterable[Iterable[Transform]], first: tuple[str, ...]) -> int:
    """Return the number of rows from the top that the chains need: all, unless each chain starts with a crop box.

    `first` names the transforms that the engine has already applied.
    """
    needed = 1
    for chain in chains:
        step = next((step for step in chain if step.name not in first), None)
        region = step.needed_box(size) if step else None
        needed = max(needed, region[3] if region else size[1])
    return needed
