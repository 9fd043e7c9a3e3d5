"""A job of a request survives the death of its process, and costs one message."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from pipeline.api import submit
from pipeline.storage.entry import Entry, Version
from pipeline.storage.keys import JobKey
from pipeline.storage.queue import Message
from pipeline.testing import pool
from pipeline.testing.store import Op, Response
from tests.api.client import call
from tests.images import image_bytes
from tests.memory import Memory

JOBS, NAME = "/api/jobs", "photos/a.jpg"
PAYLOAD = {"source": NAME, "recipe": "web"}


async def row(memory: Memory) -> Entry:
    entry = await memory.entry("web", NAME)
    assert entry is not None
    return entry


def queue_operations(memory: Memory) -> list[str]:
    return [op[0] for op in memory.account.operations if op[0].startswith("queue.")]


async def begin_and_die(memory: Memory) -> None:
    """Send a request whose process dies while the job executes: it writes nothing any more."""
    await memory.upload(NAME, image_bytes(60, 40))
    died = asyncio.Event()

    async def die() -> None:
        died.set()
        await asyncio.Event().wait()

    memory.before_next("POST executions", die)
    request = asyncio.create_task(call(memory, "POST", JOBS, PAYLOAD))
    await died.wait()
    operate = memory.account._carry_out
    memory.account._send = dead  # type: ignore[method-assign]
    request.cancel()
    for task in submit._background_jobs:
        task.cancel()
    await asyncio.gather(request, return_exceptions=True)
    await submit.drain_background_jobs()
    memory.account._send = operate  # type: ignore[method-assign]
    assert (await row(memory)).state == "running"
    memory.expire_claims()
    memory.account.advance(memory.services.settings.claim_ttl + 1)


async def dead(op: Op) -> Response:
    return Response(None, 503, "ServerBusy")


async def test_http_job_of_a_process_that_died(memory: Memory) -> None:
    await begin_and_die(memory)
    job_url = f"{JOBS}/{JobKey.of('web', 'input', NAME).id}"
    (message,) = await memory.take()
    await memory.run_queued(message)
    assert (await call(memory, "GET", job_url)).json()["state"] == "done"


async def test_http_job_of_a_process_that_died_with_its_message(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue is emptied as well. The row of the job is listed from its claim on."""
    await begin_and_die(memory)
    assert len(await memory.take()) == 1
    for age in ("GRACE", "ABANDONED_AGE"):
        monkeypatch.setattr(f"pipeline.jobs.lost_messages.{age}", timedelta(0))
    await memory.services.lost_messages.recover()
    (message,) = await memory.take()
    await memory.run_queued(message)
    assert (await row(memory)).state == "done"


async def test_the_message_of_a_finished_job_is_deleted(memory: Memory) -> None:
    await memory.upload(NAME, image_bytes(60, 40))
    assert (await call(memory, "POST", JOBS, PAYLOAD)).status == 200
    await submit.drain_background_jobs()
    assert await memory.waiting_messages() == 0
    sends = [index for index, op in enumerate(memory.account.operations) if op[0] == "queue.send"]
    claims = [index for index, op in enumerate(memory.account.operations) if op[0] == "rows"]
    assert len(sends) == 1
    assert sends[0] < claims[0], "the message is sent before the job starts"


async def test_a_failed_job_leaves_no_message(memory: Memory) -> None:
    await memory.upload(NAME, b"no image" * 50)
    assert (await call(memory, "POST", JOBS, PAYLOAD)).status == 422
    await submit.drain_background_jobs()
    assert await memory.waiting_messages() == 0


@pytest.mark.parametrize("fault", [pool.FULL, pool.UNREACHABLE], ids=["full", "outage"])
async def test_a_job_that_must_wait_keeps_its_only_message(memory: Memory, fault: pool.Fault) -> None:
    await memory.upload(NAME, image_bytes(60, 40))
    memory.pool.fail("POST", fault, times=99)
    response = await call(memory, "POST", JOBS, PAYLOAD, prefer="wait=1")
    assert (response.status, response.json()["state"]) == (202, "queued")
    await submit.drain_background_jobs()
    for _ in range(3):
        assert await memory.waiting_messages() == 1
        memory.account.advance(4000)
        for message in await memory.take():
            await memory.run_queued(message)


async def test_without_the_queue_no_job_starts(memory: Memory) -> None:
    await memory.upload(NAME, image_bytes(60, 40))
    memory.account.fail("queue.send", 503, "ServerBusy")
    assert (await call(memory, "POST", JOBS, PAYLOAD)).status == 503
    assert await memory.entry("web", NAME) is None


async def test_a_received_message_is_not_taken_back(memory: Memory) -> None:
    """Another worker has received the recovery message, since the job takes longer than a claim."""
    await memory.upload(NAME, image_bytes(60, 40))
    received: list[dict[str, Any]] = []

    async def receive() -> None:
        memory.account.advance(memory.services.settings.claim_ttl + 1)
        received.extend(await memory.take())

    memory.before_next("POST executions", receive)
    assert (await call(memory, "POST", JOBS, PAYLOAD)).status == 200
    await submit.drain_background_jobs()
    (message,) = received
    await memory.run_queued(message)
    assert (await row(memory)).attempts == 1
    assert await memory.waiting_messages() == 0


async def test_an_expired_claim_is_shown(memory: Memory) -> None:
    await memory.upload(NAME, image_bytes(60, 40))
    source = await memory.services.sources.stat("input", NAME)
    recipe = memory.services.recipes.get("web")
    key = JobKey.of("web", "input", NAME)
    entry = Entry(key, "input", NAME, state="queued", version=Version(source.etag, recipe.hash))
    await memory.services.ledger.enqueue(entry)
    claim = await memory.services.ledger.claim(key, ("input", NAME), entry.version, current)
    assert not isinstance(claim, Entry)
    for url in (f"{JOBS}/{key.id}", f"{JOBS}?state=running"):
        job = (await call(memory, "GET", url)).json()
        assert job.get("jobs", [job])[0]["claim_expired"] is False
    assert (await call(memory, "POST", f"{JOBS}/{key.id}/retry")).problem == "job_running"
    memory.expire_claims()
    for url in (f"{JOBS}/{key.id}", f"{JOBS}?state=running"):
        job = (await call(memory, "GET", url)).json()
        assert job.get("jobs", [job])[0]["claim_expired"] is True
    assert (await call(memory, "POST", f"{JOBS}/{key.id}/retry")).json()["state"] == "queued"
    (message,) = await memory.take()
    await memory.run_queued(message)
    assert (await row(memory)).state == "done"


async def current() -> bool:
    return True


async def test_a_heartbeat_keeps_a_listed_claim(memory: Memory) -> None:
    """Heartbeats change the job's own row, not its list rows."""
    await memory.upload(NAME, image_bytes(60, 40))
    await memory.services.jobs.submit(Message(recipe="web", container="input", name=NAME))
    waiting = await row(memory)
    claim = await memory.services.ledger.claim(waiting.key, ("input", NAME), waiting.version, current)
    assert not isinstance(claim, Entry)
    memory.expire_claims()
    claim.entry = await row(memory)
    await claim.renew()
    (job,) = (await call(memory, "GET", f"{JOBS}?state=running")).json()["jobs"]
    assert job["claim_expired"] is False


@pytest.mark.parametrize(("stale_after", "status"), [(timedelta(hours=1), 409), (timedelta(0), 202)])
async def test_a_job_that_is_queued_for_long_may_be_retried(
    memory: Memory, stale_after: timedelta, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    await memory.upload(NAME, image_bytes(60, 40))
    await memory.services.jobs.submit(Message(recipe="web", container="input", name=NAME))
    entry = await row(memory)
    monkeypatch.setattr("pipeline.storage.entry.STALE_AGE", stale_after)
    response = await call(memory, "POST", f"{JOBS}/{entry.key.id}/retry")
    assert response.status == status
