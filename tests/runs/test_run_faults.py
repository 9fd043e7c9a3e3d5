"""Faults of the pool and of storage during bulk runs, in memory: every job ends, and none is executed twice."""

from __future__ import annotations

import time

import pytest

from pipeline.errors import RequestError, StateConflict, StorageUnavailable
from pipeline.runs import Run, Selection
from pipeline.runs.model import Progress
from pipeline.storage.queue import RunWork, mark_unreadable
from pipeline.testing import FakePool, MemoryAccount, pool
from tests.images import image_bytes
from tests.memory import Memory, open_in_memory

WEB = Selection(recipes=("web",))


async def started(memory: Memory, count: int = 3) -> Run:
    """Upload sources and start a run of them."""
    for number in range(count):
        await memory.upload(f"photos/{number}.jpg", image_bytes(60, 40, seed=number))
    return await memory.services.runs.start(WEB, expected_count=count)


async def finish(memory: Memory, run: Run) -> Run:
    """Process the run's messages, delayed ones included, until none is left."""
    memory.account.advance(4000)
    while bodies := await memory.run_messages():
        for body in bodies:
            await memory.services.run_worker.handle_message(body)
        memory.expire_claims()
        memory.account.advance(4000)
    return await memory.services.runs.get(run.id)


@pytest.mark.parametrize("fault", [pool.UNREACHABLE, pool.THROTTLED, pool.FULL, pool.TIMED_OUT, pool.status(403)])
async def test_a_fault_of_the_pool_is_retried(memory: Memory, fault: pool.Fault) -> None:
    run = await started(memory)
    memory.pool.fail("POST", fault, times=2)
    run = await finish(memory, run)
    assert (run.state, run.progress) == ("done", Progress(done=3))
    assert len(await memory.outputs()) == 6


async def test_the_last_attempt_of_a_run_is_a_failure() -> None:
    async with open_in_memory(max_attempts=2) as memory:
        run = await started(memory)
        memory.pool.fail("POST files", pool.status(418), times=99)
        run = await finish(memory, run)
        assert (run.state, run.progress) == ("done", Progress(failed=3))
        entry = await memory.entry("web", "photos/0.jpg")
        assert entry is not None
        assert (entry.error_kind, entry.run) == ("pool_refused", run.id)


@pytest.mark.parametrize(
    "operation",
    [
        "row.query ledger",
        "row.create ledger",
        "rows ledger",
        "rows runs",
        "row.update runs",
        "row.get runs",
        "queue.send",
    ],
)
async def test_a_fault_of_storage_is_retried_by_the_host(memory: Memory, operation: str) -> None:
    run = await started(memory)
    for _ in range(2):
        memory.account.fail(operation, 503, "ServerBusy")
        for body in await memory.run_messages():
            try:
                await memory.services.run_worker.handle_message(body)
            except StorageUnavailable:
                # The host delivers the message again.
                await memory.services.run_queue.requeue(body, 0)
    run = await finish(memory, run)
    assert (run.state, run.progress) == ("done", Progress(done=3))
    entries, _ = await memory.services.ledger.page(run=run.id)
    assert [entry.state for entry in entries] == ["done"] * 3


async def test_a_source_deleted_during_a_run_is_skipped(memory: Memory) -> None:
    run = await started(memory)
    (body,) = await memory.run_messages()
    await memory.services.run_worker.handle_message(body)
    await memory.services.account.container("input").delete_blob("photos/1.jpg")
    run = await finish(memory, run)
    assert (run.state, run.progress) == ("done", Progress(done=2, skipped=1))


async def test_a_job_done_meanwhile_is_skipped(memory: Memory) -> None:
    run = await started(memory)
    (body,) = await memory.run_messages()
    await memory.services.run_worker.handle_message(body)
    await memory.services.dispatcher.handle_blob("input", "photos/1.jpg")
    executions = memory.pool.calls.count("POST executions")
    run = await finish(memory, run)
    assert (run.state, run.progress) == ("done", Progress(done=2, skipped=1))
    assert memory.pool.calls.count("POST executions") > executions


async def test_a_removed_recipe_stops_the_run() -> None:
    """The process that works on the run has other recipes than the one that started it."""
    account, sessions = MemoryAccount(), FakePool()
    async with open_in_memory(account=account, pool=sessions) as memory:
        run = await started(memory)
    other = "recipes: {other: {match: {include: ['photos/**']}, renditions: {a: {format: png}}}}"
    async with open_in_memory(other, account=account, pool=sessions) as memory:
        await memory.process_messages()
        run = await memory.services.runs.get(run.id)
        assert run.state == "stopped"
        assert "another version of the recipe" in run.why
        with pytest.raises(Exception, match="there is no recipe"):
            await memory.services.runs.resume(run.id)


@pytest.mark.parametrize("page_size", [2, 1000])
async def test_a_run_finishes_what_it_found_up_to_its_cap(
    memory: Memory, page_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.runs.selection.PAGE_SIZE", page_size)
    run = await started(memory)
    for number in range(3, 6):
        await memory.upload(f"photos/{number}.jpg", image_bytes(60, 40, seed=number))
    run = await finish(memory, run)
    assert (run.state, run.found, run.progress, run.more_due) == ("done", 3, Progress(done=3), True)
    assert "3 jobs were planned, 3 at most" in run.why
    with pytest.raises(StateConflict, match="higher cap"):
        await memory.services.runs.resume(run.id, max_jobs=3)
    await memory.services.runs.resume(run.id, max_jobs=6)
    run = await finish(memory, run)
    assert (run.state, run.found, run.progress, run.more_due) == ("done", 6, Progress(done=6), False)
    assert (run.why, run.sources) == ("", 6)
    with pytest.raises(StateConflict):
        await memory.services.runs.resume(run.id, max_jobs=9)


async def test_caps_refuse_a_run_before_it_starts(memory: Memory) -> None:
    for options in ({"max_jobs": 2}, {"max_cost": 0.05}):
        with pytest.raises(RequestError) as caught:
            await memory.services.runs.start(WEB, expected_count=3, **options)
        assert caught.value.kind == "over_cap"
    with pytest.raises(RequestError):
        await memory.services.runs.start(WEB)


async def test_a_cancelled_run_executes_no_further_job(memory: Memory) -> None:
    run = await started(memory)
    (body,) = await memory.run_messages()
    await memory.services.run_worker.handle_message(body)
    await memory.services.runs.cancel(run.id)
    run = await finish(memory, run)
    assert (run.state, run.progress) == ("cancelled", Progress(left=3))
    assert memory.pool.calls == []
    with pytest.raises(StateConflict):
        await memory.services.runs.cancel(run.id)


# -- dead letters ----------------------------------------------------------------------------------------------------


async def test_a_dead_letter_of_a_batch_fails_its_jobs(memory: Memory) -> None:
    run = await started(memory)
    (body,) = await memory.run_messages()
    await memory.services.run_worker.handle_message(body)
    (batch,) = await memory.run_messages()
    await memory.services.run_dead_letters.handle_message(batch)
    run = await memory.services.runs.get(run.id)
    assert (run.state, run.progress) == ("done", Progress(failed=3))
    entry = await memory.entry("web", "photos/2.jpg")
    assert entry is not None
    assert (entry.error_kind, entry.run) == ("undeliverable", run.id)


async def test_a_dead_letter_without_a_batch_stops_the_run(memory: Memory) -> None:
    run = await started(memory)
    (body,) = await memory.run_messages()
    await memory.services.run_dead_letters.handle_message(body)
    run = await memory.services.runs.get(run.id)
    assert run.state == "stopped"
    await memory.services.runs.resume(run.id)
    assert (await finish(memory, run)).progress == Progress(done=3)


async def test_dead_letters_of_unknown_runs_are_recorded(memory: Memory) -> None:
    handle = memory.services.run_dead_letters.handle_message
    await handle(RunWork(run="unknown", batch="00000000-00000").model_dump_json().encode())
    assert (await memory.services.ledger.page(state="failed"))[0] == []
    await handle(RunWork(run="unknown").model_dump_json().encode())
    assert (await memory.services.ledger.page(state="failed"))[0] == []
    await handle(mark_unreadable(b"nonsense", time.time() - memory.services.settings.give_up_after))
    ((entry,), _) = await memory.services.ledger.page(state="failed")
    assert entry.error_kind == "bad_message"


@pytest.mark.parametrize("content", [image_bytes(60, 40), b"no image"])
async def test_a_job_that_ends_after_a_run_found_it_unfinished_is_not_executed_again(
    memory: Memory, content: bytes
) -> None:
    await memory.upload("photos/0.jpg", content)
    runs: list[Run] = []

    async def find() -> None:
        """Let the claim of the working job expire, and a run find it."""
        memory.expire_claims()
        runs.append(await memory.services.runs.start(Selection(reasons=("unfinished",)), expected_count=1))
        (body,) = await memory.run_messages()
        await memory.services.run_worker.handle_message(body)

    memory.before_next("POST executions", find)
    await memory.services.dispatcher.handle_blob("input", "photos/0.jpg")
    before = await memory.entry("web", "photos/0.jpg")
    assert before
    assert before.state in ("done", "failed")
    assert (await finish(memory, runs[0])).state == "done"
    after = await memory.entry("web", "photos/0.jpg")
    assert after
    assert (after.generation, after.since) == (before.generation, before.since)
