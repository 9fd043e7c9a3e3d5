"""Rows of the result table: measured value, baseline, ratio, and goal."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan

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


def at_least(what: str, measured: float, baseline: float, unit: str, least: float) -> Row:
    """Return a row where more is better: the goal is `least` times the baseline."""
    ratio = measured / baseline
    goal = f">= {least:g} x baseline"
    if isnan(ratio):
        return Row(what, "not measured", f"{baseline:.2f} {unit}", "", goal, met=False)
    return Row(what, f"{measured:.2f} {unit}", f"{baseline:.2f} {unit}", f"{ratio:.2f}", goal, ratio >= least)


def at_most(what: str, measured: float, baseline: float, unit: str, most: float) -> Row:
    """Return a row where less is better: the goal is at most `most` times the baseline."""
    ratio = measured / baseline
    goal = f"<= {most:g} x baseline"
    return Row(what, f"{measured:.1f} {unit}", f"{baseline:.1f} {unit}", f"{ratio:.2f}", goal, ratio <= most)


def above(what: str, measured: float, unit: str, least: float) -> Row:
    """Return a row where more is better: the goal is at least `least`."""
    return Row(what, f"{measured:.2f} {unit}", "", "", f">= {least:g} {unit}", measured >= least)


def below(what: str, measured: float, unit: str, most: float) -> Row:
    """Return a row where less is better: the goal is at most `most`."""
    return Row(what, f"{measured:.2f} {unit}", "", "", f"<= {most:g} {unit}", measured <= most)
