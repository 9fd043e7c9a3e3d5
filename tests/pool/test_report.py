"""A session's report is believed only where every field of it is what it should be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.engine import protocol
from pipeline.errors import SessionReplyError
from pipeline.pool.report import SessionReport

VERSION = protocol.VERSION
REPORT: dict[str, Any] = {
    "version": VERSION,
    "versions": {},
    "source": None,
    "renditions": [],
    "failure": None,
    "ms": {},
}


def test_reports_are_read() -> None:
    two = json.dumps([{**REPORT, "ms": {"decode": 1.5}}, REPORT]).encode()
    assert [report.ms for report in SessionReport.parse_all(two, 2)] == [{"decode": 1.5}, {}]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_number_that_json_does_not_have_is_refused(number: str) -> None:
    """It would go into the ledger, and from there into answers that no client can read."""
    body = json.dumps({**REPORT, "ms": {"decode": 0}}).replace('"decode": 0', f'"decode": {number}')
    with pytest.raises(SessionReplyError, match="cannot parse"):
        SessionReport.parse_all(f"[{body}]".encode(), 1)


@pytest.mark.parametrize("body", ["{}", "[]", "[{}, {}]", "null", "["])
def test_other_than_one_report_for_every_job_is_refused(body: str) -> None:
    with pytest.raises(SessionReplyError):
        SessionReport.parse_all(body.encode(), 1)
