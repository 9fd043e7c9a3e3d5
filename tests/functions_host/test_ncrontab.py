"""NCRONTAB schedules."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devstack.host import cron

START = "2026-11-23T02:15:30"  # a Monday


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("* * * * * *", ["2026-11-23T02:15:31", "2026-11-23T02:15:32"]),
        ("0 */5 * * * *", ["2026-11-23T02:20:00", "2026-11-23T02:25:00"]),
        ("*/5 * * * *", ["2026-11-23T02:20:00", "2026-11-23T02:25:00"]),
        ("30 15 2 * * *", ["2026-11-24T02:15:30", "2026-11-25T02:15:30"]),
        ("0 0 9-17/4 * * MON-FRI", ["2026-11-23T09:00:00", "2026-11-23T13:00:00", "2026-11-23T17:00:00"]),
        ("0 30 9 * Jan 1-5", ["2027-01-01T09:30:00", "2027-01-04T09:30:00"]),
        ("0 0 0 29 2 *", ["2028-02-29T00:00:00", "2032-02-29T00:00:00"]),
        ("0 0 0 13 * FRI", ["2027-08-13T00:00:00"]),
        ("10/20 59 23 31 12 *", ["2026-12-31T23:59:10", "2026-12-31T23:59:30", "2026-12-31T23:59:50"]),
        ("0,15 0 0 1,15 * *", ["2026-12-01T00:00:00", "2026-12-01T00:00:15", "2026-12-15T00:00:00"]),
    ],
)
def test_the_times_of_a_schedule(schedule: str, expected: list[str]) -> None:
    parsed, moment = cron.parse(schedule), datetime.fromisoformat(START).replace(tzinfo=UTC)
    for text in expected:
        moment = parsed.after(moment)
        assert moment.replace(tzinfo=None).isoformat() == text


@pytest.mark.parametrize(
    ("schedule", "part"),
    [
        ("* * * *", "six fields"),
        ("60 * * * * *", "second '60'"),
        ("* * 24 * * *", "hour '24'"),
        ("* * * 0 * *", "day '0'"),
        ("* * * * JANUARY *", "month 'JANUARY'"),
        ("* * * * * 7", "day of the week '7'"),
        ("*/0 * * * * *", "second '*/0'"),
        ("5-1 * * * * *", "second '5-1'"),
        ("1,,2 * * * * *", "second '1,,2'"),
        ("1-999999999999 * * * * *", "second"),
    ],
)
def test_a_wrong_schedule_is_refused_with_the_field_that_is_wrong(schedule: str, part: str) -> None:
    with pytest.raises(ValueError, match=re.escape(part)):
        cron.parse(schedule)


def test_a_day_that_never_comes_is_refused() -> None:
    with pytest.raises(ValueError, match="ever comes"):
        cron.parse("0 0 0 30 2 *").after(datetime.now(UTC))


@settings(deadline=None, max_examples=30)
@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001 - made aware below
    st.sampled_from(["*", "7", "*/20", "50-55"]),
    st.sampled_from(["*", "0", "*/25", "58"]),
    st.sampled_from(["*", "23", "*/12"]),
)
def test_no_time_is_left_out(moment: datetime, second: str, minute: str, hour: str) -> None:
    schedule, moment = cron.parse(f"{second} {minute} {hour} * * *"), moment.replace(tzinfo=UTC)
    found = schedule.after(moment)
    time = moment.replace(microsecond=0) + timedelta(seconds=1)
    while (
        time.second not in schedule.second or time.minute not in schedule.minute or time.hour not in schedule.hour
    ) and time < found:
        time += timedelta(seconds=1)
    assert time == found
