"""Jobs under an open circuit breaker and under pauses, on services in memory: nothing is called, nothing is lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from pipeline.jobs import pauses
from pipeline.jobs.circuit_breaker import MAX_PAUSE_SECONDS, PROBE_TIMEOUT_SECONDS
from pipeline.jobs.pauses import CACHE_SECONDS
from pipeline.runs import Selection
from pipeline.testing import pool
from pipeline.testing.nights import pass_day
from tests.api.client import call
from tests.images import image_bytes
from tests.memory import Memory, open_in_memory

PROBE_INTERVAL = 10.0
SUBMISSION = {"source": "photos/a.jpg", "recipe": "web"}


@pytest.fixture
async def memory() -> AsyncIterator[Memory]:
    """Services whose breakers have a probe interval."""
    async with open_in_memory(requeue_delay=PROBE_INTERVAL) as memory:
        yield memory


async def upload(memory: Memory, name: str, **metadata: str) -> str:
    """Upload a source and handle its event; return the state of its job, or "" if it has no row."""
    await memory.upload(name, image_bytes(60, 40, seed=len(name)))
    await memory.services.dispatcher.handle_blob("input", name)
    entry = await memory.entry("web", name)
    return entry.state if entry else ""


async def open_breaker(memory: Memory, fault: pool.Fault = pool.UNREACHABLE) -> None:
    """Let jobs of three sources meet a fault of the pool; their messages are taken away."""
    memory.pool.fail("POST files", fault, times=99)
    for number in range(3):
        await upload(memory, f"photos/faulty-{number}.jpg")
    assert breaker_state(memory) == "open"
    await drain(memory)
    memory.pool.work_again()
    memory.pool.calls.clear()
    memory.account.operations.clear()


async def drain(memory: Memory) -> list[dict[str, Any]]:
    """Take all messages of the job queue, those that are not visible yet included."""
    memory.account.advance(2 * MAX_PAUSE_SECONDS)
    messages = await memory.take()
    memory.account.advance(-2 * MAX_PAUSE_SECONDS)
    return messages


async def deliver(memory: Memory) -> int:
    """Handle the visible messages of the job queue; return their number."""
    messages = await memory.take()
    await asyncio.gather(*(memory.services.dispatcher.handle_message(json.dumps(each).encode()) for each in messages))
    return len(messages)


def breaker_state(memory: Memory, dependency: str = "pool") -> str:
    return memory.services.admission.breakers[dependency].state


def called(memory: Memory) -> list[str]:
    """Return the operations of storage so far, without the reads of the pauses."""
    operations = [f"{op[0]} {op[1]}" for op in memory.account.operations]
    return [each for each in operations if not each.startswith("row.get runs")]


# -- circuit breakers ------------------------------------------------------------------------------------------------


async def test_an_upload_under_an_open_breaker_goes_to_the_queue_and_into_the_lists(memory: Memory) -> None:
    await open_breaker(memory)
    name = "photos/later.jpg"
    await memory.upload(name, image_bytes(60, 40))
    memory.account.operations.clear()
    await memory.services.dispatcher.handle_blob("input", name)
    assert [each.split()[0] for each in called(memory)] == ["rows", "queue.send"]
    assert memory.pool.calls == []
    (message,) = await drain(memory)
    assert (message["name"], message.get("attempt", 0)) == (name, 0)
    assert message["service_seconds"] > 0, "an outage counts toward PIPELINE_GIVE_UP_AFTER"
    memory.account.operations.clear()
    await memory.run_queued(message)
    assert [each.split()[0] for each in called(memory)] == ["queue.send"], "later deliveries cost one call"
    (again,) = await drain(memory)
    assert again["service_seconds"] > message["service_seconds"]
    entry = await memory.entry("web", name)
    assert entry is not None
    assert (entry.state, entry.error_service) == ("queued", "pool")
    assert entry.service_seconds == message["service_seconds"]


async def test_half_open_admits_one_job_and_its_success_all_others(memory: Memory) -> None:
    names = [f"photos/{number}.jpg" for number in range(5)]
    await open_breaker(memory)
    for name in names:
        assert await upload(memory, name) == "queued", "no job starts"
    memory.account.advance(PROBE_INTERVAL)
    started: list[str] = []

    async def note() -> None:
        started.append(breaker_state(memory))
        assert await upload(memory, "photos/meanwhile.jpg") == "queued", "one probe at a time"

    memory.before_next("POST files", note)
    assert await upload(memory, "photos/probe.jpg") == "done"
    assert (started, breaker_state(memory)) == (["half_open"], "closed")
    memory.account.advance(MAX_PAUSE_SECONDS)
    assert await deliver(memory) == len(names) + 1
    entries = [await memory.entry("web", name) for name in (*names, "photos/meanwhile.jpg")]
    assert [(entry.state, entry.attempts) for entry in entries if entry] == [("done", 1)] * 6


async def test_two_jobs_that_ask_at_once_are_one_probe(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    async def read_slowly() -> dict[str, object]:
        await asyncio.sleep(0)
        return {}

    await open_breaker(memory)
    memory.account.advance(PROBE_INTERVAL)
    monkeypatch.setattr(memory.services.admission.pauses, "current", read_slowly)
    uploads = upload(memory, "photos/1.jpg"), upload(memory, "photos/2.jpg")
    assert sorted(await asyncio.gather(*uploads)) == ["done", "queued"]


async def test_a_probe_that_fails_keeps_the_breaker_open(memory: Memory) -> None:
    await open_breaker(memory)
    memory.account.advance(PROBE_INTERVAL)
    memory.pool.fail("POST files", pool.UNREACHABLE)
    await upload(memory, "photos/probe.jpg")
    breaker = memory.services.admission.breakers["pool"]
    assert (breaker.state, round(breaker.seconds_to_probe)) == ("open", 2 * PROBE_INTERVAL)
    (message,) = await drain(memory)
    assert message.get("attempt", 0) == 0


async def test_a_probe_that_needs_no_session_shows_nothing(memory: Memory) -> None:
    await upload(memory, "photos/done.jpg")
    await open_breaker(memory)
    memory.account.advance(PROBE_INTERVAL)
    await memory.services.dispatcher.handle_blob("input", "photos/done.jpg")
    assert breaker_state(memory) == "half_open"
    assert await upload(memory, "photos/probe.jpg") == "done"
    assert breaker_state(memory) == "closed"


async def test_faults_with_one_image_keep_the_breaker_closed(memory: Memory) -> None:
    memory.pool.fail("POST files", pool.UNREACHABLE, times=9)
    for _ in range(4):
        await upload(memory, "photos/a.jpg")
    assert breaker_state(memory) == "closed"


async def test_an_open_storage_breaker_needs_no_call_for_a_request(memory: Memory) -> None:
    memory.account.fail("blob.get", 503, "ServerBusy", times=99)
    for number in range(3):
        await upload(memory, f"photos/{number}.jpg")
    assert breaker_state(memory, "storage") == "open"
    memory.account.operations.clear()
    response = await call(memory, "POST", "/api/jobs", SUBMISSION)
    assert (response.status, response.problem) == (503, "storage_unavailable")
    assert 0 < int(response.headers["Retry-After"]) <= MAX_PAUSE_SECONDS
    assert memory.account.operations == []


async def test_a_request_under_an_open_breaker_gets_202_at_once(memory: Memory) -> None:
    await memory.upload("photos/a.jpg", image_bytes(60, 40))
    await open_breaker(memory)
    response = await asyncio.wait_for(call(memory, "POST", "/api/jobs", SUBMISSION, prefer="wait=60"), 5)
    assert (response.status, response.json()["state"]) == (202, "queued")
    assert memory.pool.calls == []
    memory.account.advance(PROBE_INTERVAL)
    await deliver(memory)
    entry = await memory.entry("web", "photos/a.jpg")
    assert (entry and entry.state, breaker_state(memory)) == ("done", "closed")


async def test_a_preview_under_an_open_breaker_is_refused(memory: Memory) -> None:
    await open_breaker(memory)
    response = await call(memory, "POST", "/api/preview?recipe=web", image_bytes(60, 40), content_type="image/jpeg")
    assert (response.status, response.problem) == (503, "pool_unreachable")
    assert memory.pool.calls == []


async def test_a_preview_says_nothing_about_storage(memory: Memory) -> None:
    memory.account.fail("blob.get input/", 503, "ServerBusy", times=99)
    for number in range(3):
        await upload(memory, f"photos/{number}.jpg")
    response = await call(memory, "POST", "/api/preview?recipe=web", image_bytes(60, 40), content_type="image/jpeg")
    assert (response.status, breaker_state(memory, "storage")) == (200, "open")


async def test_a_batch_of_a_run_goes_back_and_is_done_after_the_outage(memory: Memory) -> None:
    names = [f"photos/{number}.jpg" for number in range(4)]
    for name in names:
        await memory.upload(name, image_bytes(60, 40))
    run = await memory.services.runs.start(Selection(recipes=("web",)), expected_count=len(names))
    await open_breaker(memory)
    (body,) = await memory.run_messages()
    await memory.services.run_worker.handle_message(body)
    assert memory.pool.calls == []
    memory.account.advance(MAX_PAUSE_SECONDS)
    for _ in range(5):
        await memory.process_messages()
        memory.account.advance(MAX_PAUSE_SECONDS)
    run = await memory.services.runs.get(run.id)
    assert (run.state, run.progress.done) == ("done", len(names))


@pytest.mark.parametrize("probes", [True, False], ids=["as a probe", "refused"])
async def test_a_batch_is_given_up_with_the_fault_of_the_service(probes: bool) -> None:
    async with open_in_memory(requeue_delay=PROBE_INTERVAL, give_up_after=60) as memory:
        await memory.upload("photos/0.jpg", image_bytes(60, 40))
        run = await memory.services.runs.start(Selection(recipes=("web",)), expected_count=1)
        (body,) = await memory.run_messages()
        await memory.services.run_worker.handle_message(body)  # finds the job
        await open_breaker(memory)
        memory.pool.fail("POST files", pool.UNREACHABLE, times=99)
        if not probes:
            memory.services.admission.breakers["pool"]._probe_at += 1e6
        for _ in range(8):
            for body in await memory.run_messages():
                await memory.services.run_worker.handle_message(body)
            memory.account.advance(MAX_PAUSE_SECONDS)
        run = await memory.services.runs.get(run.id)
        entry = await memory.entry("web", "photos/0.jpg")
    assert (run.state, run.progress.failed) == ("done", 1)
    assert entry
    assert entry.error_kind == "pool_unreachable"


async def test_health_shows_the_breakers(memory: Memory) -> None:
    await open_breaker(memory)
    breakers = (await call(memory, "GET", "/api/health")).json()["circuit_breakers"]
    assert {each["dependency"]: each["state"] for each in breakers} == {
        "pool": "open",
        "storage": "closed",
        "identity": "closed",
    }
    assert "pool_unreachable" in breakers[0]["reason"]
    assert breakers[0]["opened"]
    assert 0 < breakers[0]["seconds_to_probe"] <= PROBE_INTERVAL < PROBE_TIMEOUT_SECONDS


# -- pauses ----------------------------------------------------------------------------------------------------------


async def test_paused_uploads_wait_without_attempts_and_are_done_after_the_pause(memory: Memory) -> None:
    await memory.services.admission.pauses.pause(["uploads"])
    names = [f"photos/{number}.jpg" for number in range(3)]
    assert [await upload(memory, name) for name in names] == ["queued", "queued", "queued"]
    for _ in range(10):
        memory.account.advance(MAX_PAUSE_SECONDS)
        assert await deliver(memory) == len(names), "messages do not multiply"
    assert memory.pool.calls == []
    messages = await drain(memory)
    assert [(each.get("attempt", 0), each.get("service_seconds", 0)) for each in messages] == [(0, 0)] * 3
    for each in messages:
        await memory.run_queued(each)
    await memory.services.admission.pauses.resume(["uploads"])
    memory.account.advance(MAX_PAUSE_SECONDS)
    await deliver(memory)
    entries = [await memory.entry("web", name) for name in names]
    assert [(entry.state, entry.attempts) for entry in entries if entry] == [("done", 1)] * 3


async def test_paused_requests_get_202_and_wait_while_uploads_start(memory: Memory) -> None:
    await memory.upload("photos/a.jpg", image_bytes(60, 40))
    assert (await call(memory, "POST", "/api/pause", {"work": ["requests"]})).status == 200
    response = await asyncio.wait_for(call(memory, "POST", "/api/jobs", SUBMISSION, prefer="wait=60"), 5)
    assert (response.status, response.json()["state"]) == (202, "queued")
    await deliver(memory)
    assert memory.pool.calls == [], "the queued job waits, too"
    assert await upload(memory, "photos/b.jpg") == "done"
    preview = await call(memory, "POST", "/api/preview?recipe=web", image_bytes(60, 40), content_type="image/jpeg")
    assert (preview.status, preview.problem) == (503, "paused")
    await call(memory, "POST", "/api/resume", {"work": ["requests"]})
    memory.account.advance(MAX_PAUSE_SECONDS)
    await deliver(memory)
    entry = await memory.entry("web", "photos/a.jpg")
    assert entry
    assert entry.state == "done"


async def test_paused_runs_keep_their_messages(memory: Memory) -> None:
    for number in range(3):
        await memory.upload(f"photos/{number}.jpg", image_bytes(60, 40))
    run = await memory.services.runs.start(Selection(recipes=("web",)), expected_count=3)
    await memory.services.admission.pauses.pause(["runs"])
    for _ in range(5):
        (body,) = await memory.run_messages()
        await memory.services.run_worker.handle_message(body)
        memory.account.advance(MAX_PAUSE_SECONDS)
    assert await memory.services.schedule.start() is None
    assert memory.pool.calls == []
    await memory.services.admission.pauses.resume(["runs"])
    await memory.process_messages()
    run = await memory.services.runs.get(run.id)
    assert (run.state, run.progress.done) == ("done", 3)


async def test_a_scheduled_run_missed_under_a_pause_starts_once_after_it(memory: Memory) -> None:
    await memory.upload("photos/0.jpg", image_bytes(60, 40))
    services = memory.services
    for _ in range(2):
        await services.admission.pauses.pause(["runs"])
        assert await services.schedule.start() is None
        assert await services.schedule.start_missed() is None
        await services.admission.pauses.resume(["runs"])
        await services.lost_messages.recover()
        await memory.process_messages()
        await services.lost_messages.recover()
        await pass_day(services)
    runs, _ = await services.runs.list_runs()
    assert [(run.scheduled, run.state) for run in runs] == [(True, "done")] * 2


async def test_another_process_notices_a_pause_within_twenty_seconds() -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(open_in_memory())
        other = await stack.enter_async_context(open_in_memory(account=first.account, pool=first.pool))
        assert await upload(other, "photos/a.jpg") == "done"
        await first.services.admission.pauses.pause(["uploads"])
        first.account.advance(CACHE_SECONDS + 1)
        assert await upload(other, "photos/b.jpg") == "queued"
        assert await first.services.admission.pauses.resume(["uploads"]) == {}


async def test_pauses_that_cannot_be_read_leave_the_last_known_ones(memory: Memory) -> None:
    stored = memory.services.admission.pauses
    await stored.pause(["uploads", "runs"])
    memory.account.advance(CACHE_SECONDS + 1)
    memory.account.fail("row.get runs", 503, "ServerBusy")
    assert set(await stored.current()) == {"uploads", "runs"}


@pytest.mark.parametrize("start", ["yesterday", 5, None, "2026-12-01T12:00:00"])
async def test_a_pause_with_an_edited_start_holds_and_can_be_ended(memory: Memory, start: object) -> None:
    await memory.services.run_store.create("pauses", "current", {"uploads": start})
    assert await upload(memory, "photos/a.jpg") == "queued"
    (message,) = await drain(memory)
    assert message.get("attempt", 0) == 0
    pauses = memory.services.admission.pauses
    assert set(await pauses.pause(["runs"])) == {"uploads", "runs"}
    assert await pauses.resume(["uploads", "runs"]) == {}


async def test_storage_that_does_not_respond_holds_up_no_job(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pauses, "READ_TIMEOUT_SECONDS", 0.01)
    monkeypatch.setattr(memory.services.run_store, "get", lambda *_: asyncio.Event().wait())
    assert await asyncio.wait_for(memory.services.admission.pauses.current(), 5) == {}


async def test_two_processes_that_pause_at_once_lose_no_pause() -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(open_in_memory())
        other = await stack.enter_async_context(open_in_memory(account=first.account, pool=first.pool))
        await asyncio.gather(
            first.services.admission.pauses.pause(["uploads"]), other.services.admission.pauses.pause(["runs"])
        )
        first.account.advance(CACHE_SECONDS + 1)
        assert set(await first.services.admission.pauses.current()) == {"uploads", "runs"}


async def test_the_api_pauses_all_work_by_default_and_rejects_other_words(memory: Memory) -> None:
    paused = await call(memory, "POST", "/api/pause")
    assert [each["work"] for each in paused.json()["pauses"]] == ["uploads", "requests", "runs"]
    health = (await call(memory, "GET", "/api/health")).json()
    assert (health["healthy"], len(health["pauses"])) == (True, 3)
    assert (await call(memory, "POST", "/api/resume", {"work": ["everything"]})).status == 400
    assert (await call(memory, "POST", "/api/resume", {"work": []})).status == 400
    assert (await call(memory, "POST", "/api/resume")).json() == {"pauses": []}
