"""What goes into one execution, and what becomes of it when that breaks."""

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
from pipeline.pool.batching import LONGEST_RUN, BatchLimits, DurationEstimator, ExecutionBatcher, WorkItem
from pipeline.pool.session import Session
from pipeline.storage.ledger import Entry
from tests.images import picture
from tests.pool.test_slots import documents
from tests.stack import Stack, opened

JOB: Any = {"version": protocol.VERSION}


def work(expected: float | None = 0.1, **about: Any) -> WorkItem:
    return WorkItem(JOB, 9, lambda: expected, **{"size": 1000, "alone": False, **about})


def taken(*works: WorkItem, bounds: BatchLimits | None = None) -> list[int]:
    """How many jobs each execution is for, until nothing waits."""
    queue = ExecutionBatcher(bounds or BatchLimits(4, 1.0, 10_000))
    for each in works:
        queue.add(each)
    counts = []
    while some := queue.take():
        counts.append(len(some))
    return counts


async def test_an_execution_takes_as_many_as_its_bounds_allow() -> None:
    assert taken(*[work()] * 6) == [4, 2], "jobs"
    assert taken(*[work(expected=0.4)] * 5) == [2, 2, 1], "seconds"
    assert taken(*[work(size=4000)] * 5) == [2, 2, 1], "bytes"
    assert taken(*[work()] * 3, bounds=BatchLimits(1, 1.0, 10_000)) == [1, 1, 1], "one by one"
    queue = ExecutionBatcher(BatchLimits(4, 1.0, 10_000))
    for _ in range(3):
        queue.add(work())
    assert len(queue.take(2)) == 2, "what is asked for"


async def test_what_has_to_run_alone_or_takes_nobody_knows_how_long_is_joined_by_none() -> None:
    assert taken(work(alone=True), work(), work()) == [1, 2]
    assert taken(work(expected=None), work(), work(expected=None)) == [1, 1, 1]


async def test_a_big_one_does_not_hold_up_the_small_ones_behind_it() -> None:
    assert taken(work(), work(size=20_000), work()) == [2, 1]


async def test_only_short_jobs_that_nobody_waits_for_are_worth_a_moment() -> None:
    def short_of(*works: WorkItem, count: int = 4) -> bool:
        queue = ExecutionBatcher(BatchLimits(4, 1.0, 10_000))
        for each in works:
            queue.add(each)
        return queue.is_short_of(count)

    assert short_of(work(expected=0.01))
    assert not short_of(), "nobody is there"
    assert not short_of(*[work(expected=0.01)] * 4), "all are there"
    assert not short_of(work(expected=0.1)), "it takes longer than an execution's own time"
    assert not short_of(work(expected=None)), "nobody knows how long"
    assert not short_of(work(expected=0.01, rank=0)), "somebody waits for the answer"
    assert not short_of(work(expected=0.01, alone=True)), "it runs by itself"
    assert not short_of(*[work(expected=0.01, size=5000)] * 2), "no other one would fit in"


class Runs:
    """Stands for the pool: notes how many jobs each execution is for, which then goes on until it is broken off."""

    def __init__(self) -> None:
        self.jobs: list[int] = []
        self.under_way: list[asyncio.Future[Any]] = []

    async def run(self, _: str, code: str, __: int) -> Any:
        found = re.search(r'main\("([A-Za-z0-9+/=]+)"', code)
        assert found
        self.jobs.append(len(protocol.decode_jobs(found[1])))
        self.under_way.append(asyncio.get_running_loop().create_future())
        return await self.under_way[-1]


@asynccontextmanager
async def present(count: int) -> AsyncIterator[tuple[Session, Runs]]:
    """A session with so many jobs in it, none of them in line yet."""
    runs: Any = Runs()
    session = Session(runs, "identifier", equipped=True, is_ours=lambda: True, bounds=BatchLimits(8, 2.0, 10_000))
    with ExitStack() as jobs:
        for _ in range(count):
            jobs.enter_context(session.workspace({}))
        yield session, runs


async def turns() -> None:
    """Whatever can happen now has happened."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_free_session_runs_very_short_jobs_together_once_all_that_are_here_are_in_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batching, "LINGER", 600)
    async with present(3) as (session, runs):
        tasks = [asyncio.create_task(session.execute(work(expected=0.001))) for _ in range(2)]
        await turns()
        assert runs.jobs == []
        tasks.append(asyncio.create_task(session.execute(work(expected=0.001))))
        await turns()
        assert runs.jobs == [3]
        runs.under_way[0].set_exception(SessionLost("over"))
        assert {type(ended) for ended in await asyncio.gather(*tasks, return_exceptions=True)} == {SessionLost}


async def test_of_longer_jobs_one_runs_at_once_and_then_half_of_those_that_are_here() -> None:
    async with present(5) as (session, runs):
        tasks = [asyncio.create_task(session.execute(work(expected=0.1)))]
        await turns()
        assert runs.jobs == [1]
        tasks += [asyncio.create_task(session.execute(work(expected=0.1))) for _ in range(4)]
        await turns()
        for number in range(3):
            runs.under_way[number].set_exception(SessionLost("over"))
            await turns()
        assert runs.jobs == [1, 3, 1]
        assert {type(ended) for ended in await asyncio.gather(*tasks, return_exceptions=True)} == {SessionLost}


async def test_one_waits_longer_behind_what_takes_longer_and_not_for_ever_behind_the_unknown() -> None:
    assert batching.overdue_timeout([work(expected=0.1)]) < batching.overdue_timeout(
        [work(expected=0.1), work(expected=8)]
    )
    assert batching.overdue_timeout([work(expected=None)]) < LONGEST_RUN / 2


async def test_the_urgent_goes_first_and_what_was_cancelled_not_at_all() -> None:
    queue = ExecutionBatcher(BatchLimits(1, 1.0, 10_000))
    later, cancelled, urgent = queue.add(work()), queue.add(work()), queue.add(work(rank=0))
    cancelled.end.cancel()
    assert [queue.take(), queue.take(), queue.take()] == [[urgent], [later], []]


async def test_an_answer_that_cannot_be_used_is_nobodys_fault_when_several_were_asked() -> None:
    """It would be a failure for good, of jobs that had nothing to do with it."""
    for count, kind in ((1, SessionReplyError), (2, SessionLost)):
        queue = ExecutionBatcher(BatchLimits(4, 1.0, 10_000))
        ends = [queue.add(work()).end for _ in range(count)]
        batching.failed(queue.take(), SessionReplyError("no report"))
        assert [type(await _error(end)) for end in ends] == [kind] * count


async def _error(end: asyncio.Future[Any]) -> BaseException | None:
    await asyncio.wait([end])
    return end.exception()


def test_the_pace_of_a_recipe_follows_what_its_jobs_take_by_size() -> None:
    pace = DurationEstimator()
    assert pace.estimate("web", 1000) is None
    pace.record("web", 1000, 1.0)
    pace.record("web", 900, 2.0)
    assert pace.estimate("web", 1000) == pytest.approx(1.3)
    assert pace.estimate("web", 5000) is None


NAMES = [f"photos/{number:02}.jpg" for number in range(16)]


async def all_dropped(stack: Stack, bad: str = "") -> dict[str, Entry | None]:
    for number, name in enumerate(NAMES):
        await stack.drop(name, b"no image" if name == bad else picture(120, 90, seed=number))
    container = stack.services.settings.input_container
    await asyncio.gather(*(stack.services.dispatcher.handle_blob(container, name) for name in NAMES))
    return {name: await stack.entry("web", name) for name in NAMES}


async def test_small_images_that_wait_run_together_and_one_that_fails_fails_alone(environ: dict[str, str]) -> None:
    async with opened({**environ, "PIPELINE_POOL_MAX_SESSIONS": "1"}) as stack:
        counted: list[int] = []
        run = stack.services.pool.execute

        async def counting(*arguments: Any) -> Any:
            counted.append(1)
            return await run(*arguments)

        stack.services.pool.execute = counting  # type: ignore[method-assign]
        entries = await all_dropped(stack, bad=NAMES[7])
        states = {name: entry and (entry.state, entry.attempts) for name, entry in entries.items()}
        assert states == {name: ("failed" if name == NAMES[7] else "done", 1) for name in NAMES}
        assert len(counted) < len(NAMES)
        assert len(await stack.outputs()) == 2 * (len(NAMES) - 1)


@pytest.mark.parametrize("pack", [b"", b"x", bytes(4096)], ids=["cannot be fetched", "is cut", "is something else"])
async def test_small_renditions_that_cannot_be_had_together_are_fetched_one_by_one(
    environ: dict[str, str], pack: bytes
) -> None:
    async with opened({**environ, "PIPELINE_POOL_MAX_SESSIONS": "1"}) as stack:
        read, broken = stack.services.pool.read, []

        async def breaking(identifier: str, name: str, limit: int) -> bytes:
            if not name.endswith("-all.bin"):
                return await read(identifier, name, limit)
            broken.append(name)
            if not pack:
                raise SessionLost("no such file")
            return pack

        stack.services.pool.read = breaking  # type: ignore[method-assign]
        entries = await all_dropped(stack)
        assert broken
        assert {entry and (entry.state, entry.attempts) for entry in entries.values()} == {("done", 1)}


async def test_what_is_fetched_together_is_still_there_when_the_next_execution_is_faster(
    environ: dict[str, str],
) -> None:
    async with opened({**environ, "PIPELINE_POOL_MAX_SESSIONS": "1", "PIPELINE_SESSION_CONCURRENCY": "4"}) as stack:
        read, fetched = stack.services.pool.read, dict[str, int]()
        await stack.drop("photos/late.jpg", picture(120, 90))

        async def slow(identifier: str, name: str, limit: int) -> bytes:
            if not name.endswith("-all.bin"):
                return await read(identifier, name, limit)
            fetched[name] = 0
            if len(fetched) == 1:
                await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, "photos/late.jpg")
            data = await read(identifier, name, limit)
            fetched[name] = len(data)
            return data

        stack.services.pool.read = slow  # type: ignore[method-assign]
        entries = await all_dropped(stack)
        late = await stack.entry("web", "photos/late.jpg")
        assert {entry and entry.state for entry in (*entries.values(), late)} == {"done"}
        assert fetched
        assert all(fetched.values())


async def test_a_session_that_ends_under_several_jobs_costs_none_of_them(environ: dict[str, str]) -> None:
    """Each is tried again by itself, so that the one that may have killed it can do so to no other."""
    async with opened({**environ, "PIPELINE_POOL_MAX_SESSIONS": "1"}) as stack:
        run, ended = stack.services.pool.execute, []

        async def breaking(identifier: str, code: str, seconds: int) -> Any:
            if len(ended) == 0 and len(code) > 4000:  # the first that is for several
                ended.append(identifier)
                raise SessionLost("stopped", kind="session_died")
            return await run(identifier, code, seconds)

        stack.services.pool.execute = breaking  # type: ignore[method-assign]
        entries = await all_dropped(stack)
        assert ended
        assert {entry and entry.state for entry in entries.values()} == {"done"}
        assert ended[0] not in {each.get("identifier") for each in await documents(stack)}
