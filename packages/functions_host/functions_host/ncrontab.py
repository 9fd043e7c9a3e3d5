"""Parse NCRONTAB, Azure's cron dialect: second, minute, hour, day, month, weekday, in UTC.

A field is a comma-separated list of `*`, values, ranges (`1-5`) and steps (`*/5`, `10-40/10`, `3/5`). A month or
weekday may be a name or the beginning of one; `J` is January. A reversed range is swapped, and a step of 0 counts as 1.
A time must match both day fields. Unix cron accepts either of them.

This module exists because no library supports the dialect. `tests/functions_host/ncrontab.json` holds 161 expressions
with the results of Microsoft's own parser, NCrontab 3.4.0. This module agrees on all of them, croniter 7.0.0 on 122,
cronsim 2.8 on 107 and APScheduler 3.11.3 on 79. 16 to 25 of the differences are other times without an error: croniter
reads `5-5/2` as `*/2` and wraps `22-3` around midnight, cronsim accepts either day field, and APScheduler counts
weekdays from Monday.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

FIRST_HALF = ("JANUARY", "FEBRUARY", "MARCH", "APRIL", "MAY", "JUNE")
MONTHS = (*FIRST_HALF, "JULY", "AUGUST", "SEPTEMBER", "OCTOBER", "NOVEMBER", "DECEMBER")
WEEKDAYS = ("SUNDAY", "MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY")
FIELDS: tuple[tuple[str, int, int, Sequence[str]], ...] = (
    ("second", 0, 59, ()),
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("day of the week", 0, 6, WEEKDAYS),
)
ITEM = re.compile(r"(?:\*|([0-9]+|[A-Za-z]+)(?:-([0-9]+|[A-Za-z]+))?)(?:/([0-9]+))?")
SEARCH_LIMIT = timedelta(days=366 * 9)  # two 29 Februaries are at most eight years apart


@dataclass(frozen=True)
class Schedule:
    """The allowed values of each field."""

    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    def next_after(self, moment: datetime) -> datetime:
        """Return the first scheduled time later than `moment`.

        Raises:
            ValueError: No time within nine years matches, such as 30 February.
        """
        start = moment.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
        time = start
        while time - start < SEARCH_LIMIT:
            candidate = self._next_candidate(time)
            if candidate is None:
                return time
            time = candidate
        raise ValueError("the schedule matches no time in the next nine years")

    def _next_candidate(self, time: datetime) -> datetime | None:
        """Return None when `time` matches, else the start of the next month, day, hour, minute or second."""
        midnight = time.replace(hour=0, minute=0, second=0)
        if time.month not in self.months:
            return (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
        if time.day not in self.days or time.isoweekday() % 7 not in self.weekdays:
            return midnight + timedelta(days=1)
        if time.hour not in self.hours:
            return time.replace(minute=0, second=0) + timedelta(hours=1)
        if time.minute not in self.minutes:
            return time.replace(second=0) + timedelta(minutes=1)
        return time + timedelta(seconds=1) if time.second not in self.seconds else None


def parse_schedule(text: str) -> Schedule:
    """Parse a schedule of six fields, or of five: the second is then 0.

    Raises:
        ValueError: A field is invalid; the message names it.
    """
    fields = [field for field in text.split(" ") if field]
    fields = ["0", *fields] if len(fields) == 5 else fields
    if len(fields) != len(FIELDS):
        raise ValueError(f"'{text}' must have six fields: second, minute, hour, day, month, day of the week")
    return Schedule(*(_parse_field(field, *limits) for field, limits in zip(fields, FIELDS, strict=True)))


def _parse_field(text: str, name: str, low: int, high: int, names: Sequence[str]) -> frozenset[int]:
    ranges = [_parse_item(item, low, high, names) for item in text.split(",")]
    if not all(ranges):
        raise ValueError(f"the {name} '{text}' must be a list of values from {low} to {high}, ranges and steps")
    return frozenset(value for values in ranges for value in values)


def _parse_item(text: str, low: int, high: int, names: Sequence[str]) -> range:
    """Return the values of one list item; empty if it is invalid."""
    match = ITEM.fullmatch(text)
    if not match:
        return range(0)
    first, last, step = match.groups()
    start = _parse_value(first, low, names) if first else low
    end = _parse_value(last, low, names) if last else high if step or not first else start
    start, end = min(start, end), max(start, end)
    return range(start, end + 1, max(1, int(step or 1))) if low <= start <= end <= high else range(0)


def _parse_value(text: str, low: int, names: Sequence[str]) -> int:
    """Return a number, or the number of the first name that begins with `text`; -1 if there is none."""
    if text.isdecimal():
        return int(text)
    return next((low + index for index, name in enumerate(names) if name.startswith(text.upper())), -1)
