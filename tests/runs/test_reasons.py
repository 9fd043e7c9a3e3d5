"""Reasons for which a job is due."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pipeline.runs import DUE, Selection
from pipeline.runs.selection import reason_for
from pipeline.storage import Entry, JobKey, Version

VERSION = Version("etag", "hash")


def failed(error_service: str) -> Entry:
    key = JobKey.of("web", "input", "a.jpg")
    return Entry(key, "input", "a.jpg", state="failed", version=VERSION, error_service=error_service)


@pytest.mark.parametrize(("service", "reason"), [("pool", "service_failed"), ("", "failed")])
def test_a_failure_of_a_service_has_a_reason_of_its_own(service: str, reason: str) -> None:
    assert reason_for(failed(service), VERSION, datetime.now(UTC)) == reason


def test_a_run_takes_failures_of_services_by_default_and_others_on_request() -> None:
    assert "service_failed" in DUE
    assert "failed" not in DUE
    assert set(Selection(reasons="failed").reasons) == {"failed", "service_failed"}  # type: ignore[arg-type]
    assert Selection(reasons="service_failed").reasons == ("service_failed",)  # type: ignore[arg-type]
