"""Reasons for which a job is due."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pipeline.errors import PoolUnavailable
from pipeline.runs import DUE, Selection
from pipeline.runs.selection import MAX_SERVICE_RUNS, reason_for
from pipeline.storage import Entry, JobKey, Version
from tests.images import image_bytes
from tests.memory import Memory

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


async def test_seven_runs_retry_a_failure_of_a_service(memory: Memory) -> None:
    """Afterwards it is a failure like others, until its source changes."""
    services, place = memory.services, ("input", "photos/a.jpg")
    recipe = services.recipes.get("web")

    async def fail(run: str, attempts: int = 1) -> str | None:
        """Let the job fail in a run, and return the reason for the next one."""
        version = Version((await services.sources.stat(*place)).etag, recipe.hash)

        async def current() -> bool:
            return True

        for _ in range(attempts):
            key = JobKey.of("web", *place)
            claim = await services.ledger.claim(key, place, version, current, again=True, run=run)
            assert not isinstance(claim, Entry)
            await claim.fail(PoolUnavailable("the pool does not respond"), "queue")
        return reason_for(await services.ledger.get(key), version, datetime.now(UTC))

    await memory.upload(place[1], image_bytes(60, 40))
    assert await fail("") == "service_failed", "an upload, which no run has retried"
    reasons = [await fail(f"run-{number}", attempts=2) for number in range(MAX_SERVICE_RUNS)]
    assert reasons == ["service_failed"] * (MAX_SERVICE_RUNS - 1) + ["failed"]
    await memory.upload(place[1], image_bytes(60, 40, seed=1))
    assert await fail("another") == "service_failed"
