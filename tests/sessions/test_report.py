"""A session's report is believed only where every field of it is what it should be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.errors import SessionReplyError
from pipeline.sessions.report import SessionReport

REPORT: dict[str, Any] = {"version": 1, "versions": {}, "source": None, "renditions": [], "failure": None, "ms": {}}


def test_a_report_is_read() -> None:
    assert SessionReport.parse(json.dumps({**REPORT, "ms": {"decode": 1.5}}).encode()).ms == {"decode": 1.5}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_number_that_json_does_not_have_is_refused(number: str) -> None:
    """It would go into the ledger, and from there into answers that no client can read."""
    body = json.dumps({**REPORT, "ms": {"decode": 0}}).replace('"decode": 0', f'"decode": {number}')
    with pytest.raises(SessionReplyError, match="cannot be read"):
        SessionReport.parse(body.encode())
