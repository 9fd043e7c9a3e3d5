"""Timing of animations: frame durations, and their conversion to the precision of a format."""

from __future__ import annotations

from dataclasses import dataclass, replace

MAX_FRAME_MILLISECONDS = 655_350
"""Longest duration of a frame: the limit of GIF."""

MAX_PNG_MILLISECONDS = 65_535
"""A PNG stores a duration as a fraction of two 16-bit numbers, so any duration up to this limit fits."""

MIN_GIF_FRAME_MILLISECONDS = 20
"""Browsers play a shorter frame of a GIF for 100 ms, so only frames that are as short already stay so."""


@dataclass(frozen=True)
class Timing:
    """Timing of an animation: milliseconds per frame, and the number of plays (0 is endless)."""

    durations: list[int]
    loop: int

    @property
    def total(self) -> int:
        """Total duration in milliseconds. Identical frames may become one frame of this duration."""
        return sum(self.durations)

    def in_hundredths(self) -> Timing:
        """Round durations to 1/100 s, the unit of GIF. Carry rounding errors over, so that they do not add up."""
        durations: list[int] = []
        behind = 0
        for each in self.durations:
            wanted = each + behind
            given = each if each <= 10 else max(MIN_GIF_FRAME_MILLISECONDS, (wanted + 5) // 10 * 10)
            behind = wanted - given
            durations.append(given)
        return replace(self, durations=durations)

    def rounded_to(self, step: int) -> Timing:
        """Round durations to multiples of `step` milliseconds, with at least one `step` for each frame."""
        return replace(self, durations=[max(step, (each + step // 2) // step * step) for each in self.durations])

    def clamped(self, limit: int) -> Timing:
        """Limit each duration to `limit` milliseconds."""
        return replace(self, durations=[min(each, limit) for each in self.durations])

    def sped_up(self, limit: int) -> Timing:
        """Scale durations so that their sum is at most `limit` milliseconds, with at least 10 ms for each frame."""
        room = max(0, limit - 10 * len(self.durations))
        return replace(self, durations=[10 + each * room // self.total for each in self.durations])
