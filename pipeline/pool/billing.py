"""Session-hours, as the service bills them: every hour that a session has begun, from its start.

Each slot's document counts those of its sessions, as they begin. So the count outlives processes and sessions, costs a
write per session and hour at most, and what a process that is killed takes with it are hours that began within its
last second or two: what is counted is never too much.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import ceil
from typing import Self

HOUR = 3600


def started_hours(born: float, until: float) -> int:
    """How many hours a session that lives from `born` to `until` (seconds) has begun; 0 for one that never began."""
    return max(1, ceil((until - born) / HOUR)) if 0 < born <= until else 0


@dataclass(frozen=True)
class BilledHours:
    """Hours begun: on `day` (UTC; the last one on which any began), in that day's month, and in all since `since`."""

    day: str = ""
    today: int = 0
    month: int = 0
    total: int = 0
    since: str = ""

    def one_more(self, moment: float) -> BilledHours:
        """With an hour that began at that time (seconds since 1970)."""
        day = datetime.fromtimestamp(moment, UTC).date().isoformat()
        later = max(day, self.day)
        here = self.on(later)
        return replace(
            here,
            today=here.today + (day == later),
            month=here.month + (day[:7] == later[:7]),
            total=here.total + 1,
            since=self.since or day,
        )

    def on(self, day: str) -> BilledHours:
        """The same as it is told on a later day: nothing has begun on it yet, nor in its month when that is another."""
        if day <= self.day:
            return self
        return replace(self, day=day, today=0, month=self.month if self.day[:7] == day[:7] else 0)

    def __str__(self) -> str:
        """As documents keep it."""
        return f"{self.day} {self.today} {self.month} {self.total} {self.since}" if self.total else ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` has written; nothing of anything else."""
        match text.split():
            case [day, today, month, total, since] if all(each.isdigit() for each in (today, month, total)):
                return cls(day, int(today), int(month), int(total), since)
        return cls()

    @classmethod
    def sum(cls, counts: Iterable[BilledHours], now: float) -> Self:
        """Those of several slots together, as of today."""
        day = datetime.fromtimestamp(now, UTC).date().isoformat()
        each = [count.on(day) for count in counts if count.total]
        return cls(
            day,
            sum(count.today for count in each),
            sum(count.month for count in each),
            sum(count.total for count in each),
            min((count.since for count in each), default=""),
        )


@dataclass
class SessionLifetime:
    """The present session of a slot: when it began (0: not yet) and was last used, and how many hours are counted.

    A session that nobody uses ends by itself when it has cooled down. One that is used again after that may be another
    of the same name, which its next execution tells: until then it is `unproven`.
    """

    cooldown: float
    started: float = 0.0
    last_used: float = 0.0
    counted: int = 0
    unproven: bool = False

    @classmethod
    def read(cls, said: Mapping[str, object], cooldown: float) -> Self:
        """As a document or a listing says."""
        born, last = _number(said.get("born")), _number(said.get("last"))
        return cls(cooldown, born, max(born, last), int(_number(said.get("counted"))))

    @property
    def ends(self) -> float:
        """When it ends by itself, if nobody uses it again."""
        return self.last_used + self.cooldown

    def begin(self, now: float) -> None:
        """It begins."""
        self.started = self.last_used = now

    def used(self, now: float) -> None:
        """It is to be used, if it is still there."""
        self.unproven = self.unproven or (self.started > 0 and now > self.ends)

    def answered(self, now: float) -> None:
        """Some session of this name has answered."""
        if self.started and not self.unproven:
            self.last_used = now

    def proven(self, now: float) -> None:
        """It has shown to be the same that it was."""
        self.unproven = False
        self.answered(now)

    def until(self, now: float) -> float:
        """Until when it has lived, as far as its last answer tells."""
        return min(now, self.ends)

    def count(self, hours: BilledHours, until: float) -> BilledHours:
        """With the hours that it has begun until then and that are not counted yet."""
        while self.counted < started_hours(self.started, until):
            hours = hours.one_more(self.started + self.counted * HOUR)
            self.counted += 1
        return hours


def _number(value: object) -> float:
    try:
        return float(value) if isinstance(value, int | float | str) else 0.0
    except ValueError:
        return 0.0
