"""How an animation runs, and how its times are made to fit what a format can say."""

from __future__ import annotations

from dataclasses import dataclass, replace

MAX_FRAME_MILLISECONDS = 655_350
"""Milliseconds that a frame may be shown: what a GIF has room for."""

MAX_PNG_MILLISECONDS = 65_535
"""Up to so many milliseconds any time fits a PNG, which holds it as a fraction of two numbers of 16 bits."""

MIN_GIF_FRAME_MILLISECONDS = 20
"""Milliseconds. Browsers take a frame of a GIF that is shorter for one of 100, so only those that were stay so."""


@dataclass(frozen=True)
class Timing:
    """How an animation runs: milliseconds per frame, and how often it is played (0 is without end)."""

    durations: list[int]
    loop: int

    @property
    def total(self) -> int:
        """Milliseconds of all frames: so long is one of them, when all show the same and become one."""
        return sum(self.durations)

    def in_hundredths(self) -> Timing:
        """In hundredths of a second, as GIF counts: the frames end as near as can be to where they did."""
        durations: list[int] = []
        behind = 0
        for each in self.durations:
            wanted = each + behind
            given = each if each <= 10 else max(MIN_GIF_FRAME_MILLISECONDS, (wanted + 5) // 10 * 10)
            behind = wanted - given
            durations.append(given)
        return replace(self, durations=durations)

    def rounded_to(self, step: int) -> Timing:
        """In multiples of `grain` milliseconds, at least one for each frame."""
        return replace(self, durations=[max(step, (each + step // 2) // step * step) for each in self.durations])

    def clamped(self, limit: int) -> Timing:
        """With no frame longer than `most` milliseconds."""
        return replace(self, durations=[min(each, limit) for each in self.durations])

    def sped_up(self, limit: int) -> Timing:
        """Quicker, so that all frames together take no longer than `most` milliseconds, and each at least 10."""
        room = max(0, limit - 10 * len(self.durations))
        return replace(self, durations=[10 + each * room // self.total for each in self.durations])
