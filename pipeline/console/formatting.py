"""Numbers, sizes and times as people read them."""

from __future__ import annotations

import math
import unicodedata
from datetime import UTC, datetime

_UNITS = ("B", "KB", "MB", "GB", "TB", "PB")
NONE = "–"
_LENGTHS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def number(value: float | None, digits: int = 0) -> str:
    """1,234 or 12.5; a dash where there is none."""
    return NONE if value is None else f"{value:,.{digits}f}"


def size(count: float | None) -> str:
    """Bytes with a unit and three significant digits: 840 B, 1.25 MB."""
    if count is None:
        return NONE
    value, unit = float(count), 0
    while abs(value) >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{_three(value) if unit else f'{value:.0f}'} {_UNITS[unit]}"


def duration(seconds: float | None) -> str:
    """A length of time: 340 ms, 2.4 s, 3 min 20 s, 4 h 5 min, 3 d."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    rounded = round(seconds)
    for long, short, unit, part in ((86_400, 3600, "d", "h"), (3600, 60, "h", "min"), (60, 1, "min", "s")):
        if rounded >= long:
            whole, rest = rounded // long, rounded % long // short
            return f"{whole} {unit} {rest} {part}" if rest else f"{whole} {unit}"
    raise AssertionError("unreachable: what is shorter than a minute was told above")


def percent(part: float, whole: float) -> str:
    """A share: 12 %, 0.4 %; never 100 % when something is missing, nor 0 % when there is something."""
    if not whole:
        return NONE
    share = 100 * part / whole
    if 0 < share < 0.05:
        return "< 0.1 %"
    if 99.95 <= share < 100:
        return "99.9 %"
    return f"{share:.0f} %" if share >= 10 or share == round(share) else f"{share:.1f} %"


def saved(before: float | None, after: float | None) -> str:
    """What a rendition saves against its source: 82 % smaller."""
    if not before or after is None:
        return ""
    share = 100 * (before - after) / before
    if abs(share) < 0.5:
        return "same size"
    return f"{share:.0f} % smaller" if share > 0 else f"{-share:.0f} % larger"


def money(value: float | None, currency: str = "$") -> str:
    """An amount; small ones with the digits that matter."""
    if value is None:
        return NONE
    cents = value >= 1 or abs(value - round(value, 2)) < 0.00005
    return f"{currency}{value:,.2f}" if cents else f"{currency}{value:.4f}"


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """How long since: just now, 3 min ago, 2 d ago."""
    if moment is None:
        return NONE
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    if seconds < 5:
        return "just now"
    long, unit = next((long, unit) for long, unit in _LENGTHS if seconds >= long)
    return f"{int(seconds // long)} {unit} ago"


def utc(moment: datetime | None) -> str:
    """A moment in UTC, for those without scripts; the browser shows its own zone."""
    return NONE if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def stamp(moment: datetime) -> str:
    """A moment as machines read it."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def clip(text: str, longest: int = 80) -> str:
    """A long name with its middle left out: both its start and its end tell it apart."""
    if len(text) <= longest:
        return text
    head = longest * 2 // 3
    return f"{text[:head]}…{text[-(longest - head - 1) :]}"


def visible(text: str) -> str:
    """A name with what cannot be seen spelled out, such as the marks that turn the direction of writing around."""
    return "".join(f"‹U+{ord(char):04X}›" if unicodedata.category(char) in _UNSEEN else char for char in text)


def _three(value: float) -> str:
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
