"""Session report: every field is validated."""

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


def test_reports_are_parsed() -> None:
    two = json.dumps([{**REPORT, "ms": {"decode": 1.5}}, REPORT]).encode()
    assert [report.ms for report in SessionReport.parse_all(two, 2)] == [{"decode": 1.5}, {}]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_number_that_json_lacks_is_refused(number: str) -> None:
    """It would reach the ledger, and API responses that no client can parse."""
    body = json.dumps({**REPORT, "ms": {"decode": 0}}).replace('"decode": 0', f'"decode": {number}')
    with pytest.raises(SessionReplyError, match="cannot parse"):
        SessionReport.parse_all(f"[{body}]".encode(), 1)


@pytest.mark.parametrize("body", ["{}", "[]", "[{}, {}]", "null", "["])
def test_anything_but_one_report_per_job_is_refused(body: str) -> None:
    with pytest.raises(SessionReplyError):
        SessionReport.parse_all(body.encode(), 1)
