"""NCRONTAB schedules."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions_host.ncrontab import Schedule, parse_schedule

CASES = json.loads(Path(__file__).with_name("ncrontab.json").read_text())["cases"]
START = datetime(2026, 11, 30, 23, 59, 58, tzinfo=UTC)
END = START.replace(year=START.year + 9)


def times(schedule: Schedule) -> Iterator[str]:
    """Yield all times of nine years, then "never", in the format of the cases."""
    moment = START
    try:
        while (moment := schedule.next_after(moment)) < END:
            yield moment.replace(tzinfo=None).isoformat()
    except ValueError:
        pass
    yield "never"


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case["expression"]))
def test_a_schedule_means_the_same_as_on_azure(case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(ValueError):  # noqa: PT011 - the messages are tested below
            parse_schedule(case["expression"])
    else:
        assert list(itertools.islice(times(parse_schedule(case["expression"])), 4)) == case["next"]


@pytest.mark.parametrize(
    ("schedule", "part"),
    [
        ("* * * *", "six fields"),
        ("60 * * * * *", "second '60'"),
        ("* * 24 * * *", "hour '24'"),
        ("* * * 0 * *", "day '0'"),
        ("* * * * JANUARYS *", "month 'JANUARYS'"),
        ("* * * * * 7", "day of the week '7'"),
        ("1,,2 * * * * *", "second '1,,2'"),
        ("1-999999999999 * * * * *", "second"),
    ],
)
def test_an_error_names_the_invalid_field(schedule: str, part: str) -> None:
    with pytest.raises(ValueError, match=re.escape(part)):
        parse_schedule(schedule)


def test_a_schedule_that_never_matches_is_an_error() -> None:
    with pytest.raises(ValueError, match="no time in the next nine years"):
        parse_schedule("0 0 0 30 2 *").next_after(datetime.now(UTC))


@settings(deadline=None, max_examples=30)
@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001 - made aware below
    st.sampled_from(["*", "7", "*/20", "50-55"]),
    st.sampled_from(["*", "0", "*/25", "58"]),
    st.sampled_from(["*", "23", "*/12"]),
)
def test_no_time_is_skipped(moment: datetime, second: str, minute: str, hour: str) -> None:
    schedule, moment = parse_schedule(f"{second} {minute} {hour} * * *"), moment.replace(tzinfo=UTC)
    result = schedule.next_after(moment)
    time = moment.replace(microsecond=0) + timedelta(seconds=1)
    while (
        time.second not in schedule.seconds or time.minute not in schedule.minutes or time.hour not in schedule.hours
    ) and time < result:
        time += timedelta(seconds=1)
    assert time == result
