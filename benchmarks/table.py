"""One line per figure: what was measured, beside what, and whether the goal is held."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import override


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    measured: str
    baseline: str
    ratio: str
    goal: str
    held: bool

    @override
    def __str__(self) -> str:
        """As a line."""
        mark = "held" if self.held else "MISSED"
        return f"{self.what:<58}{self.measured:>16}{self.baseline:>16}{self.ratio:>8}  {self.goal:<24}{mark}"


HEAD = f"{'':<58}{'measured':>16}{'baseline':>16}{'ratio':>8}  goal"


def at_least(what: str, measured: float, baseline: float, unit: str, least: float) -> Row:
    """More is better: `measured` has to be `least` times `baseline`."""
    ratio = measured / baseline
    goal = f">= {least:g} x baseline"
    return Row(what, f"{measured:.2f} {unit}", f"{baseline:.2f} {unit}", f"{ratio:.2f}", goal, ratio >= least)


def at_most(what: str, measured: float, baseline: float, unit: str, most: float) -> Row:
    """Less is better: `measured` may be `most` times `baseline`."""
    ratio = measured / baseline
    goal = f"<= {most:g} x baseline"
    return Row(what, f"{measured:.1f} {unit}", f"{baseline:.1f} {unit}", f"{ratio:.2f}", goal, ratio <= most)


def above(what: str, measured: float, unit: str, least: float) -> Row:
    """More is better."""
    return Row(what, f"{measured:.2f} {unit}", "", "", f">= {least:g} {unit}", measured >= least)


def below(what: str, measured: float, unit: str, most: float) -> Row:
    """Less is better."""
    return Row(what, f"{measured:.2f} {unit}", "", "", f"<= {most:g} {unit}", measured <= most)
