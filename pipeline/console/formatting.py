"""Formatting of numbers, sizes, times and names for readers."""

import math
import unicodedata
from datetime import UTC, datetime

_SIZE_UNITS = ("B", "KB", "MB", "GB", "TB", "PB")
MISSING = "–"
_AGE_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_INVISIBLE_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def number(value: float | None, digits: int = 0) -> str:
    """Format a number with thousands separators: 1,234 or 12.5. None gives a dash."""
    return MISSING if value is None else f"{value:,.{digits}f}"


def plural(count: int, noun: str) -> str:
    """Format a count and its noun: 1 job, 2,345 jobs."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def size(count: float | None) -> str:
    """Format a number of bytes with a unit and three significant digits: 840 B, 1.25 MB."""
    if count is None:
        return MISSING
    value, unit = float(count), 0
    while abs(value) >= 999.5 and unit < len(_SIZE_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{_three_digits(value) if unit else f'{value:.0f}'} {_SIZE_UNITS[unit]}"


def duration(seconds: float | None) -> str:
    """Format a duration: 340 ms, 2.4 s, 3 min 20 s, 4 h 5 min, 3 d. None and infinity give a dash."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    rounded = round(seconds)
    for long, short, unit, part in ((86_400, 3600, "d", "h"), (3600, 60, "h", "min"), (60, 1, "min", "s")):
        if rounded >= long:
            whole, rest = rounded // long, rounded % long // short
            return f"{whole} {unit} {rest} {part}" if rest else f"{whole} {unit}"
    raise AssertionError("unreachable: durations below one minute return above")


def percent(part: float, whole: float) -> str:
    """Format a share: 12 %, 0.4 %. It is 100 % only for the whole, and 0 % only for nothing."""
    if not whole:
        return MISSING
    share = 100 * part / whole
    if 0 < share < 0.05:
        return "< 0.1 %"
    if 99.95 <= share < 100:
        return "99.9 %"
    return f"{share:.0f} %" if share >= 10 or share == round(share) else f"{share:.1f} %"


def saved(before: float | None, after: float | None) -> str:
    """Compare the bytes of a rendition with those of its source: 82 % smaller."""
    if not before or after is None:
        return ""
    share = 100 * (before - after) / before
    if abs(share) < 0.5:
        return "same size"
    return f"{share:.0f} % smaller" if share > 0 else f"{-share:.0f} % larger"


def money(value: float | None, currency: str = "$") -> str:
    """Format an amount with two digits after the point, or four if two would hide a part of it."""
    if value is None:
        return MISSING
    cents = value >= 1 or abs(value - round(value, 2)) < 0.00005
    return f"{currency}{value:,.2f}" if cents else f"{currency}{value:.4f}"


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """Format the age of a moment: just now, 3 min ago, 2 d ago."""
    if moment is None:
        return MISSING
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    if seconds < 5:
        return "just now"
    long, unit = next((long, unit) for long, unit in _AGE_UNITS if seconds >= long)
    return f"{int(seconds // long)} {unit} ago"


def utc(moment: datetime | None) -> str:
    """Format a moment in UTC. Scripts replace it by the viewer's time zone."""
    return MISSING if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(moment: datetime) -> str:
    """Format a moment in ISO 8601, in UTC with seconds."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def clip(text: str, max_characters: int = 80) -> str:
    """Shorten a long name in the middle, because both its start and its end distinguish it."""
    if len(text) <= max_characters:
        return text
    head = max_characters * 2 // 3
    return f"{text[:head]}…{text[-(max_characters - head - 1) :]}"


def visible(text: str) -> str:
    """Replace invisible characters, such as those that reverse the writing direction, by escapes."""
    return "".join(
        f"‹U+{ord(char):04X}›" if unicodedata.category(char) in _INVISIBLE_CATEGORIES else char for char in text
    )


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
