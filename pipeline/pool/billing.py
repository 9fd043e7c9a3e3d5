"""Billed session-hours: every started hour of a session, counted from its start, as the service bills them.

Each slot's document counts the hours of its sessions when they start, so the count outlives processes and sessions. It
costs at most one write per session and hour. A killed process loses the hours that started in its last 1 to 2 seconds,
so the count is a lower bound.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import ceil
from typing import Self

HOUR_SECONDS = 3600


def started_hours(started: float, until: float) -> int:
    """Return how many hours a session has started between two times in seconds; 0 when it never started."""
    return max(1, ceil((until - started) / HOUR_SECONDS)) if 0 < started <= until else 0


def _utc_day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).date().isoformat()


@dataclass(frozen=True)
class BilledHours:
    """Started hours of sessions.

    Attributes:
        day: Last day (UTC, ISO format) on which an hour started.
        today: Hours that started on that day.
        month: Hours that started in that day's month.
        total: Hours that started since `since`.
        since: First day on which an hour started; empty before that.
    """

    day: str = ""
    today: int = 0
    month: int = 0
    total: int = 0
    since: str = ""

    def plus_hour(self, moment: float) -> Self:
        """Return the count with one more hour, which started at `moment` (seconds since 1970)."""
        day = _utc_day(moment)
        later = max(day, self.day)
        base = self.as_of(later)
        return replace(
            base,
            today=base.today + (day == later),
            month=base.month + (day[:7] == later[:7]),
            total=base.total + 1,
            since=self.since or day,
        )

    def as_of(self, day: str) -> Self:
        """Return the count on a later day, on which no hour has started yet."""
        if day <= self.day:
            return self
        return replace(self, day=day, today=0, month=self.month if self.day[:7] == day[:7] else 0)

    def __str__(self) -> str:
        """Format the count for a slot's document."""
        return f"{self.day} {self.today} {self.month} {self.total} {self.since}" if self.total else ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the output of `str`. Any other text is an empty count."""
        match text.split():
            case [day, today, month, total, since] if all(each.isdigit() for each in (today, month, total)):
                return cls(day, int(today), int(month), int(total), since)
        return cls()

    @classmethod
    def sum(cls, counts: Iterable[Self], now: float) -> Self:
        """Add the counts of several slots, as of the day of `now` (seconds since 1970)."""
        day = _utc_day(now)
        each = [count.as_of(day) for count in counts if count.total]
        return cls(
            day,
            sum(count.today for count in each),
            sum(count.month for count in each),
            sum(count.total for count in each),
            min((count.since for count in each), default=""),
        )


@dataclass
class SessionLifetime:
    """Lifetime of a slot's present session. All times are seconds since 1970.

    An unused session expires when it has cooled down. A session that is used after that time may be a new one of the
    same name. Its next execution tells; until then the lifetime is `unconfirmed`.

    Attributes:
        cooldown: Seconds without use after which a session expires.
        started: Start of the session; 0 before it starts.
        last_used: Last time at which the session is known to have existed.
        counted: Number of started hours that are counted.
        unconfirmed: Whether the session may have expired and been replaced.
    """

    cooldown: float
    started: float = 0.0
    last_used: float = 0.0
    counted: int = 0
    unconfirmed: bool = False

    @classmethod
    def read(cls, fields: Mapping[str, object], cooldown: float) -> Self:
        """Read the lifetime from a slot's document or its summary. Unreadable numbers count as 0."""
        started, last_used = _number(fields.get("born")), _number(fields.get("last"))
        return cls(cooldown, started, max(started, last_used), int(_number(fields.get("counted"))))

    @property
    def ends(self) -> float:
        """Time at which the session expires unless it is used again."""
        return self.last_used + self.cooldown

    def start(self, now: float) -> None:
        """Start the lifetime."""
        self.started = self.last_used = now

    def mark_used(self, now: float) -> None:
        """Record that a job is about to use the session, which may have expired."""
        self.unconfirmed = self.unconfirmed or (self.started > 0 and now > self.ends)

    def mark_responded(self, now: float) -> None:
        """Record that a session of this name responded."""
        if self.started and not self.unconfirmed:
            self.last_used = now

    def mark_alive(self, now: float) -> None:
        """Record that the session is confirmed to be the same one."""
        self.unconfirmed = False
        self.mark_responded(now)

    def alive_until(self, now: float) -> float:
        """Return the time until which the session has lived, by its last response."""
        return min(now, self.ends)

    def add_started_hours(self, hours: BilledHours, until: float) -> BilledHours:
        """Return `hours` plus the hours that the session started until then and that are not counted yet."""
        while self.counted < started_hours(self.started, until):
            hours = hours.plus_hour(self.started + self.counted * HOUR_SECONDS)
            self.counted += 1
        return hours


def _number(value: object) -> float:
    try:
        return float(value) if isinstance(value, int | float | str) else 0.0
    except ValueError:
        return 0.0
