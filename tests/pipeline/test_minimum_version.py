"""An instance below the stored minimum version starts nothing and says so."""

from __future__ import annotations

import json

import pytest

from pipeline import __version__
from pipeline.errors import OutdatedDeployment, RequestError
from pipeline.jobs.pauses import CACHE_SECONDS, Pauses
from pipeline.runs import Selection
from pipeline.storage import JobKey, Message
from tests.api.client import call
from tests.images import image_bytes
from tests.memory import Memory

NAME = "photos/a.jpg"


async def outdate(memory: Memory) -> None:
    """Raise the minimum version from a newer version of the app; this process notices it."""
    await Pauses(memory.services.run_store, version="99.0.0").raise_minimum_version("99.0.0")
    memory.account.advance(CACHE_SECONDS + 1)


def waiting(memory: Memory, queue: str) -> list[bytes]:
    """Return the bodies in a queue, the invisible ones included."""
    return [each.body for each in memory.account.store.messages if each.queue == queue]


async def test_an_outdated_instance_starts_nothing_and_keeps_the_messages(
    memory: Memory, caplog: pytest.LogCaptureFixture
) -> None:
    services = memory.services
    await memory.upload(NAME, image_bytes())
    run = await services.runs.start(Selection(), expected_count=1)
    (work,) = await memory.run_messages()
    await outdate(memory)
    await services.dispatcher.handle_blob("input", NAME)
    await services.run_worker.handle_message(work)
    assert await memory.entry("web", NAME) is None
    assert [json.loads(body)["name"] for body in waiting(memory, "jobs")] == [NAME]
    assert [json.loads(body)["run"] for body in waiting(memory, "runs")] == [run.id]
    assert "event=app.outdated" in caplog.text
    assert memory.pool.calls == []


async def test_an_outdated_instance_refuses_every_start(memory: Memory) -> None:
    services = memory.services
    await memory.upload(NAME, image_bytes())
    await services.dispatcher.handle_blob("input", NAME)
    key = JobKey.of("web", "input", NAME)
    await services.account.queue("jobs-poison").create_queue()
    await outdate(memory)
    for start in (
        services.jobs.retry(key),
        services.jobs.submit(Message(recipe="web", container="input", name=NAME)),
        services.runs.start(Selection(), expected_count=1),
        services.runs.resume("20260101-000000-000000"),
        services.schedule.start(),
    ):
        with pytest.raises(OutdatedDeployment, match=r"below the minimum version 99\.0\.0"):
            await start
    body = Message(recipe="web", container="input", name=NAME).model_dump_json().encode()
    await services.dead_letters.handle_job_message(body)
    (dead_letter,) = waiting(memory, "jobs-poison")
    assert dead_letter.endswith(body)
    refused = await call(memory, "POST", "/api/jobs", {"source": NAME, "recipe": "web"})
    assert (refused.status, refused.problem) == (503, "outdated_deployment")
    health = await call(memory, "GET", "/api/health")
    (version,) = [each for each in health.json()["dependencies"] if each["name"] == "version of the app"]
    assert (health.status, version["healthy"]) == (503, False)


async def test_the_minimum_version_only_rises_and_never_above_the_own_version(memory: Memory) -> None:
    pauses = memory.services.admission.pauses
    assert await pauses.minimum_version() == ""
    await pauses.pause(["runs"])
    await pauses.raise_minimum_version(__version__)
    assert await pauses.minimum_version() == __version__
    await pauses.resume(["runs"])
    assert await pauses.outdated() is None
    for version in ("0.0.1", "99.0.0", "newest"):
        with pytest.raises(RequestError):
            await pauses.raise_minimum_version(version)
    memory.account.advance(CACHE_SECONDS + 1)
    assert await pauses.minimum_version() == __version__
