"""Rows of the result table: measured value, baseline, ratio, and goal."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, nan

from typing_extensions import override


@dataclass(frozen=True)
class Row:
    """Row of the table. A row without a measurement counts as missed."""

    what: str
    measured: str
    baseline: str
    ratio: str
    goal: str
    met: bool

    @override
    def __str__(self) -> str:
        """Return the row as one line of text."""
        mark = "met" if self.met else "MISSED"
        return f"{self.what:<58}{self.measured:>16}{self.baseline:>16}{self.ratio:>8}  {self.goal:<24}{mark}"


HEAD = f"{'':<58}{'measured':>16}{'baseline':>16}{'ratio':>8}  goal"


def quotient(dividend: float, divisor: float) -> float:
    """Return a quotient for a row; NaN, which counts as not measured, if the divisor is 0 or negative."""
    return dividend / divisor if divisor > 0 else nan


def at_least(what: str, measured: float, baseline: float, unit: str, least: float) -> Row:
    """Return a row where more is better: the goal is `least` times the baseline."""
    goal, ratio = f">= {least:g} x baseline", _ratio(measured, baseline)
    return _row(what, (measured, baseline), unit, ratio, goal, met=ratio >= least, digits=2)


def at_most(what: str, measured: float, baseline: float, unit: str, most: float) -> Row:
    """Return a row where less is better: the goal is at most `most` times the baseline."""
    goal, ratio = f"<= {most:g} x baseline", _ratio(measured, baseline)
    return _row(what, (measured, baseline), unit, ratio, goal, met=ratio <= most, digits=1)


def above(what: str, measured: float, unit: str, least: float) -> Row:
    """Return a row where more is better: the goal is at least `least`."""
    return Row(what, _text(measured, unit, 2), "", "", f">= {least:g} {unit}", isfinite(measured) and measured >= least)


def below(what: str, measured: float, unit: str, most: float) -> Row:
    """Return a row where less is better: the goal is at most `most`."""
    return Row(what, _text(measured, unit, 2), "", "", f"<= {most:g} {unit}", isfinite(measured) and measured <= most)


def _ratio(measured: float, baseline: float) -> float:
    """Return the ratio of two rates or durations; NaN if one of them is not positive, and so was not measured."""
    return quotient(measured, baseline) if measured > 0 and isfinite(measured) else nan


def _row(what: str, values: tuple[float, float], unit: str, ratio: float, goal: str, *, met: bool, digits: int) -> Row:
    measured, baseline = (_text(value if value > 0 else nan, unit, digits) for value in values)
    return Row(what, measured, baseline, f"{ratio:.2f}" if isfinite(ratio) else "", goal, met)


def _text(value: float, unit: str, digits: int) -> str:
    return f"{value:.{digits}f} {unit}" if isfinite(value) else "not measured"
