"""Microbatches: which jobs share an execution, and what happens to them when it breaks."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import pytest

from pipeline.engine import protocol
from pipeline.errors import SessionLost, SessionReplyError
from pipeline.pool import batching
from pipeline.pool.batching import (
    MAX_EXECUTION_SECONDS,
    BatchLimits,
    DurationEstimator,
    ExecutionBatcher,
    ExecutionResult,
    WorkItem,
)
from pipeline.pool.session import BUSY, Session
from pipeline.storage.ledger import Entry
from pipeline.testing import pool as faults
from tests.images import image_bytes
from tests.memory import Memory, open_in_memory
from tests.pool.helpers import slot_documents
from tests.stack import Stack

JOB: Any = {"version": protocol.VERSION}


def work(expected: float | None = 0.1, **fields: Any) -> WorkItem:
    """Create a work item with an expected duration in seconds."""
    return WorkItem(JOB, 9, lambda: expected, **{"size": 1000, "exclusive": False, **fields})


def queue_of(*items: WorkItem, limits: BatchLimits | None = None) -> ExecutionBatcher:
    """Create a queue of work items."""
    queue = ExecutionBatcher(limits or BatchLimits(4, 1.0, 10_000))
    for item in items:
        queue.add(item)
    return queue


def batch_sizes(*items: WorkItem, limits: BatchLimits | None = None) -> list[int]:
    """Return how many jobs each execution has, until no job waits."""
    queue, sizes = queue_of(*items, limits=limits), []
    while batch := queue.take():
        sizes.append(len(batch))
    return sizes


async def test_a_microbatch_stays_within_its_limits() -> None:
    assert batch_sizes(*[work()] * 6) == [4, 2], "jobs"
    assert batch_sizes(*[work(expected=0.4)] * 5) == [2, 2, 1], "seconds"
    assert batch_sizes(*[work(size=4000)] * 5) == [2, 2, 1], "bytes"
    assert batch_sizes(*[work()] * 3, limits=BatchLimits(1, 1.0, 10_000)) == [1, 1, 1], "one by one"
    assert len(queue_of(*[work()] * 3).take(2)) == 2, "the caller's limit"


async def test_exclusive_jobs_and_unknown_durations_run_alone() -> None:
    assert batch_sizes(work(exclusive=True), work(), work()) == [1, 2]
    assert batch_sizes(work(expected=None), work(), work(expected=None)) == [1, 1, 1]


async def test_a_big_job_does_not_hold_up_small_ones_behind_it() -> None:
    assert batch_sizes(work(), work(size=20_000), work()) == [2, 1]


async def test_only_short_background_jobs_wait_for_more() -> None:
    def waits(*items: WorkItem, count: int = 4) -> bool:
        return queue_of(*items).should_wait_for_more(count)

    assert waits(work(expected=0.01))
    assert not waits(), "no job is queued"
    assert not waits(*[work(expected=0.01)] * 4), "all jobs are queued"
    assert not waits(work(expected=0.1)), "it takes longer than an execution's overhead"
    assert not waits(work(expected=None)), "no estimate"
    assert not waits(work(expected=0.01, rank=0)), "a user waits for the response"
    assert not waits(work(expected=0.01, exclusive=True)), "it runs alone"
    assert not waits(*[work(expected=0.01, size=5000)] * 2), "no other job would fit"


class Executions:
    """Client of the pool whose executions last until the test ends them. It records their numbers of jobs."""

    def __init__(self) -> None:
        self.jobs: list[int] = []
        self.running: list[asyncio.Future[Any]] = []

    async def execute(self, _: str, code: str, __: int) -> Any:
        encoded = re.search(r'main\("([A-Za-z0-9+/=]+)"', code)
        assert encoded
        self.jobs.append(len(protocol.decode_jobs(encoded[1])))
        self.running.append(asyncio.get_running_loop().create_future())
        return await self.running[-1]

    async def end(self, _: str) -> None: ...


@asynccontextmanager
async def session_with_jobs(count: int, **options: Any) -> AsyncIterator[tuple[Session, Executions]]:
    """Yield a session with `count` jobs in it, none of them queued yet."""
    executions: Any = Executions()
    options = {"lease_is_valid": lambda: True, "limits": BatchLimits(8, 2.0, 10_000), **options}
    session = Session(executions, "identifier", engine_installed=True, **options)
    with ExitStack() as jobs:
        for _ in range(count):
            jobs.enter_context(session.workspace({}))
        yield session, executions


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


def start(session: Session, count: int, expected: float) -> list[asyncio.Task[ExecutionResult]]:
    """Queue jobs in a session."""
    return [asyncio.create_task(session.execute(work(expected=expected))) for _ in range(count)]


async def ends(tasks: list[asyncio.Task[ExecutionResult]]) -> set[tuple[type, str]]:
    """Return types and kinds of the errors with which jobs end."""
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    return {(type(error), getattr(error, "kind", "")) for error in errors}


async def test_short_jobs_run_together_once_all_are_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MICROBATCH_WAIT_SECONDS", 600)
    async with session_with_jobs(3) as (session, executions):
        tasks = start(session, 2, 0.001)
        await settle()
        assert executions.jobs == []
        tasks += start(session, 1, 0.001)
        await settle()
        assert executions.jobs == [3]
        executions.running[0].set_exception(SessionLost("over"))
        assert await ends(tasks) == {(SessionLost, "session_lost")}


async def test_longer_jobs_run_in_halves_of_those_present() -> None:
    async with session_with_jobs(5) as (session, executions):
        tasks = start(session, 1, 0.1)
        await settle()
        assert executions.jobs == [1]
        tasks += start(session, 4, 0.1)
        await settle()
        for number in range(3):
            executions.running[number].set_exception(SessionLost("over"))
            await settle()
        assert executions.jobs == [1, 3, 1]
        assert await ends(tasks) == {(SessionLost, "session_lost")}


async def test_an_overdue_execution_sends_waiting_jobs_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "OVERDUE_FACTOR", 0)
    monkeypatch.setattr(batching, "OVERDUE_MARGIN_SECONDS", 0.01)
    async with session_with_jobs(2) as (session, executions):
        running, waiting = start(session, 2, 0.1)
        assert await ends([waiting]) == {(SessionLost, BUSY)}
        assert (session.overdue, executions.jobs) == (True, [1])
        executions.running[0].set_exception(SessionLost("over"))
        assert await ends([running]) == {(SessionLost, "session_lost")}
        assert not session.overdue


async def test_ending_a_session_fails_its_jobs() -> None:
    async with session_with_jobs(1) as (session, _):
        tasks = start(session, 1, 0.1)
        await settle()
        await session.end()
        assert await ends(tasks) == {(SessionLost, "session_lost")}


async def test_nothing_runs_in_a_session_with_traces_of_tampering() -> None:
    async with session_with_jobs(1) as (session, executions):
        session.tainted = "a new thread"
        assert await ends(start(session, 1, 0.1)) == {(SessionLost, "session_tainted")}
        assert executions.jobs == []


async def test_nothing_runs_without_a_valid_lease() -> None:
    async with session_with_jobs(1, lease_is_valid=lambda: False) as (session, executions):
        assert await ends(start(session, 1, 0.1)) == {(SessionLost, "slot_lost")}
        assert executions.jobs == []


async def test_jobs_wait_by_estimate_and_not_for_ever() -> None:
    short, long = batching.overdue_timeout([work(expected=0.1)]), batching.overdue_timeout([work(), work(expected=8)])
    assert short < long
    assert batching.overdue_timeout([work(expected=None)]) < MAX_EXECUTION_SECONDS / 2


async def test_urgent_jobs_go_first_and_cancelled_ones_never() -> None:
    queue = ExecutionBatcher(BatchLimits(1, 1.0, 10_000))
    later, cancelled, urgent = queue.add(work()), queue.add(work()), queue.add(work(rank=0))
    cancelled.result.cancel()
    assert [queue.take(), queue.take(), queue.take()] == [[urgent], [later], []]


@pytest.mark.parametrize(("count", "error"), [(1, SessionReplyError), (2, SessionLost)])
async def test_an_unusable_reply_fails_only_a_job_that_ran_alone(count: int, error: type[Exception]) -> None:
    """Several jobs are tried again, since all but one had nothing to do with it."""
    queue = ExecutionBatcher(BatchLimits(4, 1.0, 10_000))
    results = [queue.add(work()).result for _ in range(count)]
    batching.fail_all(queue.take(), SessionReplyError("no report"))
    assert [type(result.exception()) for result in results] == [error] * count


def test_the_estimate_is_a_moving_average_by_recipe_and_size() -> None:
    estimator = DurationEstimator()
    assert estimator.estimate("web", 1000) is None
    estimator.record("web", 1000, 1.0)
    estimator.record("web", 900, 2.0)
    assert estimator.estimate("web", 1000) == pytest.approx(1.3)
    assert estimator.estimate("web", 5000) is None


NAMES = [f"photos/{number:02}.jpg" for number in range(16)]


async def upload_and_process(stack: Stack, bad: str = "") -> dict[str, Entry | None]:
    """Process 16 small images at once. Returns their rows of the ledger."""
    for number, name in enumerate(NAMES):
        await stack.upload(name, b"no image" if name == bad else image_bytes(120, 90, seed=number))
    container = stack.services.settings.input_container
    await asyncio.gather(*(stack.services.dispatcher.handle_blob(container, name) for name in NAMES))
    return {name: await stack.entry("web", name) for name in NAMES}


async def check_one_bad_image_fails_alone(stack: Stack) -> None:
    """Process 16 images of which one is bad, and count the executions."""
    calls, execute = list[str](), stack.services.pool.execute

    async def counted(identifier: str, code: str, seconds: int) -> Any:
        calls.append(code)
        return await execute(identifier, code, seconds)

    stack.services.pool.execute = counted  # type: ignore[method-assign]
    entries = await upload_and_process(stack, bad=NAMES[7])
    states = {name: entry and (entry.state, entry.attempts) for name, entry in entries.items()}
    assert states == {name: ("failed" if name == NAMES[7] else "done", 1) for name in NAMES}
    assert len(calls) < len(NAMES)
    assert len(await stack.outputs()) == 2 * (len(NAMES) - 1)


@pytest.fixture
async def one_session() -> AsyncIterator[Memory]:
    """Services with a pool of one session."""
    async with open_in_memory(pool_max_sessions=1, session_concurrency=4) as memory:
        yield memory


async def test_one_bad_image_of_a_microbatch_fails_alone(one_session: Memory) -> None:
    await check_one_bad_image_fails_alone(one_session)


@pytest.mark.parametrize("pack", [b"", b"x", bytes(4096)], ids=["download fails", "cut", "other content"])
async def test_renditions_of_an_unusable_pack_are_downloaded_singly(one_session: Memory, pack: bytes) -> None:
    read, broken = one_session.services.pool.read, list[str]()

    async def read_broken(identifier: str, name: str, limit: int) -> bytes:
        if not name.endswith("-all.bin"):
            return await read(identifier, name, limit)
        broken.append(name)
        if not pack:
            raise SessionLost("no such file")
        return pack

    one_session.services.pool.read = read_broken  # type: ignore[method-assign]
    entries = await upload_and_process(one_session)
    assert broken
    assert {entry and (entry.state, entry.attempts) for entry in entries.values()} == {("done", 1)}


async def test_the_next_execution_does_not_delete_a_pack(one_session: Memory) -> None:
    """Another job runs in the session before the pack is downloaded."""
    services, sizes = one_session.services, dict[str, int]()
    read = services.pool.read
    await one_session.upload("photos/late.jpg", image_bytes(120, 90))

    async def read_late(identifier: str, name: str, limit: int) -> bytes:
        if not name.endswith("-all.bin"):
            return await read(identifier, name, limit)
        sizes[name] = 0
        if len(sizes) == 1:
            await services.dispatcher.handle_blob(services.settings.input_container, "photos/late.jpg")
        data = await read(identifier, name, limit)
        sizes[name] = len(data)
        return data

    services.pool.read = read_late  # type: ignore[method-assign]
    entries = await upload_and_process(one_session)
    late = await one_session.entry("web", "photos/late.jpg")
    assert {entry and entry.state for entry in (*entries.values(), late)} == {"done"}
    assert sizes
    assert all(sizes.values())


async def check_a_session_that_ends_under_a_microbatch(stack: Stack) -> None:
    """End the session of the first microbatch. Each job is tried again alone, so a fatal one harms no other."""
    execute, ended = stack.services.pool.execute, list[str]()

    async def end_first(identifier: str, code: str, seconds: int) -> Any:
        if not ended and len(code) > 4000:  # the first microbatch
            ended.append(identifier)
            raise SessionLost("stopped", kind="session_died")
        return await execute(identifier, code, seconds)

    stack.services.pool.execute = end_first  # type: ignore[method-assign]
    entries = await upload_and_process(stack)
    assert ended
    assert {entry and entry.state for entry in entries.values()} == {"done"}
    assert ended[0] not in {each.get("identifier") for each in await slot_documents(stack)}


async def test_a_session_that_ends_under_a_microbatch_costs_no_job(one_session: Memory) -> None:
    await check_a_session_that_ends_under_a_microbatch(one_session)


async def test_the_engine_of_an_image_is_found_by_the_first_execution() -> None:
    async with open_in_memory(pool_endpoint="https://p.azurecontainerapps.io") as memory:
        await memory.upload(NAMES[0], image_bytes(120, 90))
        await memory.services.dispatcher.handle_blob(memory.services.settings.input_container, NAMES[0])
        entry = await memory.entry("web", NAMES[0])
        assert entry
        assert entry.state == "done"
        assert memory.pool.calls.count("POST executions") == 2, "the image lacks the engine"


async def test_a_replaced_session_gets_source_and_engine_again(one_session: Memory) -> None:
    await upload_and_process(one_session)
    one_session.pool.fail("POST executions", faults.REPLACED)
    entries = await upload_and_process(one_session, bad=NAMES[3])
    assert {name for name, entry in entries.items() if entry and entry.state == "failed"} == {NAMES[3]}
