"""Composition: choose the part of an axis that a crop keeps, by the weight of each column or row and by the heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul

HEAD_WEIGHT = 2.0
"""Weight of heads that were found by their color, in relation to the weight of all energy in the image."""

FACE_WEIGHT = 3.0
"""Weight of heads of a face detector. It exceeds every other consideration."""

HEAD_SLACK = 0.11
"""Distance of heads from their best place that costs nothing, in windows."""


@dataclass(frozen=True)
class Span:
    """The extent of a head on one axis, as fractions of the image, and its weight (0 to 1)."""

    start: float
    end: float
    weight: float


def best_start(
    profile: Sequence[float],
    kept: float,
    heads: Sequence[Span],
    head_weight: float,
    *,
    down: bool,
    slack: float = HEAD_SLACK,
) -> float:
    """Return the start of the best window as a fraction of the free space.

    `profile` has the weight of each column or row, `kept` is the fraction of the axis that the crop keeps. `down` is
    true for rows: there, heads belong into the upper part. Heads may be off their best place by `slack` windows.
    """
    count = len(profile)
    window = min(count - 1, max(1, round(count * kept)))
    room = count - window
    low = min(profile) * 0.6
    energy = [value - low for value in profile]
    total = sum(energy) or 1.0
    kernel = [_kernel((at + 0.5) / window) for at in range(window)]
    all_weight = max(1.0, sum(head.weight for head in heads))
    best, best_score = 0.5, float("-inf")
    for at in range(room + 1):
        start = at / room
        left = start * (1 - kept)
        score = sum(map(mul, energy[at : at + window], kernel)) / total - 0.06 * abs(start - 0.5)
        if heads:
            held = sum(head.weight * _head_value(head, left, kept) for head in heads) / all_weight
            score += head_weight * (held - 0.25 * max(0.0, _distance(heads, left, kept, down) - slack))
        if score > best_score:
            best, best_score = start, score
    return best


def _kernel(position: float) -> float:
    """Return the weight of a position in the window (0 to 1): thirds count most, and the edges least."""
    distance = abs(position - 0.5) * 2
    if distance <= 1 / 3:
        return 0.92 + 0.08 * distance * 3
    return 1.0 - 0.75 * ((distance - 1 / 3) * 1.5) ** 2


def _head_value(head: Span, left: float, kept: float) -> float:
    """Return 1 for a head inside the window, 0 for one outside, and less than 0 for one that is cut."""
    size = head.end - head.start
    inside = min(head.end, left + kept) - max(head.start, left)
    if size >= kept:
        return max(0.0, inside / kept) ** 2
    share = inside / size
    if share <= 0:
        return 0.0
    if share < 0.25:
        return -2.0 * share
    if share < 0.75:
        return -0.5
    return 1.0 if share > 0.999 else -0.5 + 4.8 * (share - 0.75)


def _distance(heads: Sequence[Span], left: float, kept: float, down: bool) -> float:
    """Return the distance of the heads inside the window from their best place, in windows."""
    weight, middle = 0.0, 0.0
    for head in heads:
        center = (head.start + head.end) / 2
        if left < center < left + kept:
            weight += head.weight
            middle += head.weight * center
    return abs((middle / weight - left) / kept - (0.4 if down else 0.5)) if weight else 0.0
