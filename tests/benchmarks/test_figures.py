"""Rows and figures of the benchmarks: a figure without a measurement says so, and counts as missed."""

from __future__ import annotations

from math import inf, isnan, nan
from typing import Any

import pytest

from benchmarks.figures import LEAST_OVERLAP_SECONDS, overlapping_rate, per_image, rate
from benchmarks.table import above, at_least, at_most, below, quotient


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_a_value_that_is_no_number_is_not_measured_and_missed(value: float) -> None:
    for row in (
        above("", value, "", 0),
        below("", value, "", 1),
        at_least("", value, 1, "", 0),
        at_most("", value, 1, "", 2),
    ):
        assert (row.measured.strip(), row.met) == ("not measured", False)


@pytest.mark.parametrize(("measured", "baseline"), [(-0.0, 1), (0, 1), (-1, 1), (1, 0), (1, nan), (1, -1), (0, 0)])
def test_a_ratio_of_nothing_is_missed(measured: float, baseline: float) -> None:
    """A rate or a duration of 0 was not measured: as `less is better`, it would meet each goal."""
    for row in (at_least("", measured, baseline, "", 0), at_most("", measured, baseline, "", 2)):
        assert (row.ratio, row.met) == ("", False)
        assert "not measured" in (row.measured.strip(), row.baseline.strip())


def test_measured_values_are_compared_to_their_goals() -> None:
    assert at_least("", 2.2, 1, "images/s", 2.2).met
    assert not at_least("", 2.1, 1, "images/s", 2.2).met
    assert at_most("", 0.4, 1, "ms", 0.4).ratio == "0.40"
    assert not at_most("", 0.5, 1, "ms", 0.4).met
    assert below("", 0, "", 0).met, "a count may be 0"
    assert below("", -1, "MB", 10).met, "memory may shrink"
    assert not above("", 0.5, "", 0.9).met


def told(first: float, last: float, ends: list[float]) -> dict[str, Any]:
    return {"first": first, "last": last, "ends": ends}


def test_processes_that_did_not_execute_together_have_no_rate() -> None:
    one, later = told(0, 10, [1, 2, 10]), told(12, 20, [13, 20])
    assert isnan(overlapping_rate([one, later]))
    assert not at_least("", overlapping_rate([one, later]), 1, "", 0.9).met
    short = told(10 - LEAST_OVERLAP_SECONDS / 2, 20, [20])
    assert isnan(overlapping_rate([one, short])), "a moment is too short for a rate"
    assert overlapping_rate([told(0, 10, [1, 6, 10]), told(5, 15, [7, 15])]) == pytest.approx(3 / 5)


def test_a_rate_of_no_images_is_not_measured() -> None:
    assert isnan(rate([{"jobs": 0, "seconds": 3}]))
    assert isnan(per_image([{"jobs": 0, "cpu": 1}], "cpu"))
    assert isnan(quotient(1, 0))
    assert rate([{"jobs": 6, "seconds": 2}, {"jobs": 2, "seconds": 2}]) == 2
