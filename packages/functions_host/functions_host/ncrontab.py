"""NCRONTAB, the platform's schedules: second, minute, hour, day, month, day of the week, in UTC.

A field is `*` or a list of values, ranges (`1-5`) and steps (`*/5`, `10-40/10`, `3/5`); months and days of the week
may be named. A day must fit both day fields, where cron on Unix takes either.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

MONTHS = {name.upper(): number for number, name in enumerate(calendar.month_abbr) if name}
DAYS = {name: number for number, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"))}
FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("second", 0, 59, {}),
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day", 1, 31, {}),
    ("month", 1, 12, MONTHS),
    ("day of the week", 0, 6, DAYS),
)
FARTHEST = timedelta(days=366 * 9)  # 29 February is at most eight years away


@dataclass(frozen=True)
class Schedule:
    """The values that each field takes."""

    second: frozenset[int]
    minute: frozenset[int]
    hour: frozenset[int]
    day: frozenset[int]
    month: frozenset[int]
    weekday: frozenset[int]

    def after(self, moment: datetime) -> datetime:
        """The first time that is later than `moment`.

        Raises:
            ValueError: there is none (30 February).
        """
        start = moment.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
        time = start
        while time - start < FARTHEST:
            later = self._later(time)
            if later is None:
                return time
            time = later
        raise ValueError("the schedule has no time that ever comes")

    def _later(self, time: datetime) -> datetime | None:
        """The earliest time that may fit when this one does not: the start of the next day, hour, minute, second."""
        day = time.replace(hour=0, minute=0, second=0)
        if time.month not in self.month:
            return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
        if time.day not in self.day or time.isoweekday() % 7 not in self.weekday:
            return day + timedelta(days=1)
        if time.hour not in self.hour:
            return time.replace(minute=0, second=0) + timedelta(hours=1)
        if time.minute not in self.minute:
            return time.replace(second=0) + timedelta(minutes=1)
        return time + timedelta(seconds=1) if time.second not in self.second else None


def parse(text: str) -> Schedule:
    """Read a schedule; with five fields the second is 0.

    Raises:
        ValueError: a field is wrong; the message says which.
    """
    fields = text.split()
    fields = ["0", *fields] if len(fields) == 5 else fields
    if len(fields) != len(FIELDS):
        raise ValueError(f"'{text}' must have six fields: second, minute, hour, day, month, day of the week")
    return Schedule(*(_field(field, *known) for field, known in zip(fields, FIELDS, strict=True)))


def _field(text: str, name: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    ranges = [_range(item, low, high, names) for item in text.split(",")]
    if not all(ranges):
        raise ValueError(f"the {name} '{text}' is not made of values from {low} to {high}, ranges and steps")
    return frozenset(value for values in ranges for value in values)


def _range(text: str, low: int, high: int, names: dict[str, int]) -> range:
    """The values of one item of a list; none when it is wrong."""
    match = re.fullmatch(r"(?:\*|(\w+)(?:-(\w+))?)(?:/([1-9]\d*))?", text)
    if not match:
        return range(0)
    first, last, step = match.groups()
    start = _number(first, names) if first else low
    end = _number(last, names) if last else high if step or not first else start
    return range(start, end + 1, int(step or 1)) if low <= start <= end <= high else range(0)


def _number(text: str, names: dict[str, int]) -> int:
    return int(text) if text.isdecimal() else names.get(text.upper(), -1)
