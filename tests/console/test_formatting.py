"""Formatting of numbers, sizes, times and names, and charts with text alternatives."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.console import charts, formatting


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 KB"),
        (12_345, "12.3 KB"),
        (999_600, "1.00 MB"),
        (2.5e9, "2.50 GB"),
        (None, "–"),
    ],
)
def test_sizes_have_three_digits_and_a_unit(count: float | None, text: str) -> None:
    assert formatting.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0123, "12 ms"),
        (0.9996, "1.0 s"),
        (59.9, "59.9 s"),
        (59.96, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations_have_units(seconds: float, text: str) -> None:
    assert formatting.duration(seconds) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 0, "–"),
        (0, 5, "0 %"),
        (5, 5, "100 %"),
        (1, 3, "33 %"),
        (1, 20, "5 %"),
        (1, 10_000, "< 0.1 %"),
        (99_999, 100_000, "99.9 %"),
    ],
)
def test_a_share_is_rounded_to_0_and_100_only_if_exact(part: float, whole: float, text: str) -> None:
    assert formatting.percent(part, whole) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "$0.00"),
        (0.03, "$0.03"),
        (4 * 0.03, "$0.12"),
        (0.0004, "$0.0004"),
        (0.1204, "$0.1204"),
        (1234.567, "$1,234.57"),
    ],
)
def test_small_amounts_have_four_digits(amount: float, text: str) -> None:
    assert formatting.money(amount) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 jobs"), (1, "1 job"), (2345, "2,345 jobs")])
def test_a_noun_agrees_with_its_count(count: int, text: str) -> None:
    assert formatting.plural(count, "job") == text


def test_the_age_of_a_moment() -> None:
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    texts = [formatting.ago(now - timedelta(seconds=each), now) for each in (1, 59, 61, 7300, 200_000)]
    assert texts == ["just now", "59 s ago", "1 min ago", "2 h ago", "2 d ago"]


def test_invisible_characters_are_escaped() -> None:
    assert formatting.visible("a\u202eb\u200dc\n") == "a‹U+202E›b‹U+200D›c‹U+000A›"
    assert formatting.visible("صورة é 猫.jpg") == "صورة é 猫.jpg"


def test_a_long_name_is_shortened_in_the_middle() -> None:
    assert formatting.clip("x" * 500 + ".jpg", 20) == "xxxxxxxxxxxxx…xx.jpg"


def test_a_chart_has_an_escaped_text_alternative() -> None:
    moments = [datetime(2026, 11, 24, 12, minute, tzinfo=UTC) for minute in (0, 1)]
    drawn = charts.columns("<Images>", moments, [charts.Series("done & well", "c1", [3, 4])])
    assert 'aria-label="&lt;Images&gt;: 7 done &amp; well in total"' in drawn
    assert ">12:01 UTC: 4 done &amp; well</title>" in drawn
    assert "style=" not in drawn


def test_a_bar_is_divided_in_proportion() -> None:
    drawn = charts.bar("Slots", [("leased", "c1", 1), ("free", "none", 3)])
    assert 'x="25.00" y="0.00" width="75.00"' in drawn
    assert charts.bar("Slots", []).count("<rect") == 1


@pytest.mark.parametrize(("value", "top"), [(0, 2), (2, 2), (3, 5), (11, 20), (21, 25), (99, 100), (101, 200)])
def test_a_scale_ends_at_a_round_number(value: float, top: float) -> None:
    assert charts.round_up(value) == top
