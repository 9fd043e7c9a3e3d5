"""Reasons for which a job is due."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import PoolUnavailable
from pipeline.runs import DUE, Selection
from pipeline.runs.selection import MAX_SERVICE_RUNS, reason_for
from pipeline.storage import ClaimOptions, Entry, JobKey, Listed, SourceFacts, Version
from tests.images import image_bytes
from tests.memory import Memory

VERSION = Version("etag", "hash")
NOW = datetime(2026, 12, 1, tzinfo=UTC)
SOURCE = Listed("a.jpg", "etag", 10, "image/jpeg", NOW, "0a0b")
RECIPE: Any = SimpleNamespace(hash="hash", carry=(), needs_focal_point=False)
DONE = Entry(
    JobKey.of("web", "input", "a.jpg"),
    "input",
    "a.jpg",
    state="done",
    version=VERSION,
    source=SourceFacts(10, "c0ffee", "0a0b"),
)


def failed(error_service: str) -> Entry:
    key = JobKey.of("web", "input", "a.jpg")
    return Entry(key, "input", "a.jpg", state="failed", version=VERSION, error_service=error_service)


@pytest.mark.parametrize(("service", "reason"), [("pool", "service_failed"), ("", "failed")])
def test_a_failure_of_a_service_has_a_reason_of_its_own(service: str, reason: str) -> None:
    assert reason_for(failed(service), SOURCE, RECIPE, NOW) == reason


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
        source = await services.sources.stat(*place)
        version = Version(source.etag, recipe.hash)

        async def current() -> bool:
            return True

        for _ in range(attempts):
            key = JobKey.of("web", *place)
            claim = await services.ledger.claim(key, place, version, current, ClaimOptions(again=True, run=run))
            assert not isinstance(claim, Entry)
            await claim.fail(PoolUnavailable("the pool does not respond"), "queue")
        return reason_for(await services.ledger.get(key), source, recipe, datetime.now(UTC))

    await memory.upload(place[1], image_bytes(60, 40))
    assert await fail("") == "service_failed", "an upload, which no run has retried"
    reasons = [await fail(f"run-{number}", attempts=2) for number in range(MAX_SERVICE_RUNS)]
    assert reasons == ["service_failed"] * (MAX_SERVICE_RUNS - 1) + ["failed"]
    await memory.upload(place[1], image_bytes(60, 40, seed=1))
    assert await fail("another") == "service_failed"


@pytest.mark.parametrize(
    ("source", "entry", "reason"),
    [
        ({}, {}, "done"),
        ({"etag": "new"}, {}, "etag_changed"),
        ({"etag": "new", "content_md5": ""}, {}, "etag_changed"),
        ({"etag": "new", "content_md5": "ff"}, {}, "changed"),
        ({"etag": "new", "size": 11}, {}, "changed"),
        ({"etag": "new"}, {"state": "dismissed"}, "etag_changed"),
        ({"etag": "new", "size": 11}, {"state": "dismissed"}, "changed"),
        ({"etag": "new"}, {"state": "failed"}, "changed"),
        ({"etag": "new"}, {"version": Version("etag", "old")}, "recipe_changed"),
        ({"etag": "new"}, {"version": Version("etag", "old"), "state": "dismissed"}, "changed"),
        ({"etag": "new"}, {"source": SourceFacts()}, "changed"),
        ({}, {"source": SourceFacts()}, "done"),
    ],
)
def test_size_and_md5_tell_a_change_of_the_content_from_one_of_the_etag(
    source: dict[str, Any], entry: dict[str, Any], reason: str
) -> None:
    assert reason_for(replace(DONE, **entry), replace(SOURCE, **source), RECIPE, NOW) == reason
