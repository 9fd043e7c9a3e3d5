"""Rebalancing: processes with work for more slots than there are come to hold about as many each."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest

from pipeline.errors import PoolFull, StorageUnavailable
from pipeline.pool import rebalancing
from pipeline.pool.rebalancing import SlotRebalancer
from pipeline.pool.requests import Priority
from pipeline.pool.scheduler import SlotScheduler
from tests.memory import Memory, open_in_memory
from tests.pool.helpers import another_process, documents_of
from tests.waiting import eventually


async def run_jobs(scheduler: SlotScheduler, stop: asyncio.Event, priority: Priority = "upload") -> None:
    """Run one short job after another."""
    while not stop.is_set():
        try:
            async with scheduler.acquire_slot(priority=priority):
                await asyncio.sleep(0.005)
        except PoolFull:
            continue


def held(scheduler: SlotScheduler) -> int:
    """Return the number of slots that a process holds."""
    return len(scheduler.leases.slots)


@pytest.mark.usefixtures("short_intervals")
async def test_a_process_that_starts_later_gets_its_share() -> None:
    async with open_in_memory(pool_max_sessions=4) as memory, AsyncExitStack() as stack:
        first, second, stop = memory.services.scheduler, another_process(memory), asyncio.Event()
        stack.push_async_callback(second.close)
        tasks = [asyncio.create_task(run_jobs(first, stop)) for _ in range(12)]
        await eventually(lambda: held(first) == 4)
        tasks += [asyncio.create_task(run_jobs(second, stop)) for _ in range(12)]
        await eventually(lambda: (held(first), held(second)) == (2, 2), timeout=60)
        stop.set()
        await asyncio.gather(*tasks)


@pytest.mark.usefixtures("short_intervals")
async def test_the_whole_surplus_is_handed_over_at_once() -> None:
    """Not slot by slot: four processes that start together share twelve slots after one or two rounds."""
    async with open_in_memory(pool_max_sessions=12) as memory, AsyncExitStack() as stack:
        first, stop = memory.services.scheduler, asyncio.Event()
        others = [another_process(memory) for _ in range(3)]
        for other in others:
            stack.push_async_callback(other.close)
        tasks = [asyncio.create_task(run_jobs(first, stop)) for _ in range(24)]
        await eventually(lambda: held(first) == 12)
        surpluses: list[int] = []
        rebalancer: Any = first.leases._rebalancer
        surplus = rebalancer.surplus

        async def recorded(held: int, jobs: Mapping[Priority, int], *, more: bool) -> int:
            surpluses.append(await surplus(held, jobs, more=more))
            return surpluses[-1]

        rebalancer.surplus = recorded
        tasks += [asyncio.create_task(run_jobs(other, stop)) for other in others for _ in range(24)]
        await eventually(lambda: all(2 <= held(each) <= 4 for each in [first, *others]), timeout=90)
        assert max(surpluses) > 1
        stop.set()
        await asyncio.gather(*tasks)


@pytest.mark.usefixtures("short_intervals")
async def test_one_kind_of_work_per_process_is_divided_by_priority() -> None:
    """As on Azure: three processes with jobs of a run, one with uploads, one with requests. The runs come first."""
    priorities: list[Priority] = ["run", "run", "run", "upload", "interactive"]
    async with open_in_memory(pool_max_sessions=8) as memory, AsyncExitStack() as stack:
        processes, stop, tasks = [another_process(memory) for _ in priorities], asyncio.Event(), list[Any]()
        for process, priority in zip(processes, priorities, strict=True):
            stack.push_async_callback(process.close)
            tasks += [asyncio.create_task(run_jobs(process, stop, priority)) for _ in range(24)]
            if priority == "run":
                await eventually(lambda process=process: held(process) > 0)
        *runs, uploads, requests = processes
        await eventually(lambda: (sum(map(held, runs)), held(uploads), held(requests)) == (2, 1, 5), timeout=60)
        stop.set()
        await asyncio.gather(*tasks)


async def test_demands_of_others_are_read_until_withdrawn(memory: Memory) -> None:
    mine, theirs = documents_of(memory), documents_of(memory)
    await mine.publish_demand({"held": 3, "more": 1, "run": 9})
    await theirs.publish_demand({"held": 1, "more": 1})
    assert await mine.demands() == {theirs.process: {"held": 1, "more": 1}}
    assert await theirs.demands() == {mine.process: {"held": 3, "more": 1, "run": 9}}
    for _ in range(2):
        await theirs.withdraw_demand()
    assert await mine.demands() == {}


class Documents:
    """Store of demands that records the calls, and fails when told to."""

    process = "me"

    def __init__(self, **others: dict[str, int]) -> None:
        self.others, self.calls = others, list[str]()
        self.fails = False

    def _record(self, call: str) -> None:
        self.calls.append(call)
        if self.fails:
            raise StorageUnavailable("down")

    async def demands(self) -> dict[str, dict[str, int]]:
        self._record("read")
        return self.others

    async def publish_demand(self, demand: dict[str, int]) -> None:
        self._record("publish " + " ".join(f"{name}={number}" for name, number in demand.items() if number))

    async def withdraw_demand(self) -> None:
        self._record("withdraw")


class Time:
    """Clocks that a test sets."""

    now = 6_000.0

    def time(self) -> float:
        """Return the time."""
        return self.now

    monotonic = time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    """Replace the clocks of the rebalancer."""
    clock = Time()
    monkeypatch.setattr(rebalancing, "time", clock)
    return clock


SHARES: dict[Priority, float] = {"upload": 0.12, "run": 0.25}
ENDLESS = 600


def rebalancer_on(documents: Any, limit: int = 600) -> SlotRebalancer:
    """Create a rebalancer of a pool of 16 slots."""
    return SlotRebalancer(documents, 16, limit, SHARES)


def busy(held: int, **jobs: int) -> dict[str, int]:
    """Return the published demand of a process that has work for more slots."""
    return {"held": held, "more": 1, "interactive": 0, "upload": 0, "run": 0, **jobs}


@pytest.mark.usefixtures("clock")
async def test_a_process_makes_no_call_without_slots_or_with_one_busy_slot() -> None:
    documents = Documents()
    rebalancer = rebalancer_on(documents)
    for held, jobs in ((0, 0), (1, 1)):
        assert await rebalancer.surplus(held, {"upload": jobs}, more=False) == 0
        await rebalancer.publish_demand(held, {"upload": jobs}, more=False)
    assert documents.calls == []


async def test_the_last_idle_slot_goes_to_a_process_that_needs_it(clock: Time) -> None:
    documents = Documents(run=busy(15, run=ENDLESS))
    rebalancer = rebalancer_on(documents)
    surpluses = []
    for second in range(46):
        surpluses.append(await rebalancer.surplus(1, {"upload": second < 3}, more=False))
        clock.now += 1
    assert sum(surpluses) == len(documents.calls) == 2, "one look in 15 s"
    assert not any(surpluses[:15])


@pytest.mark.usefixtures("clock")
async def test_a_run_keeps_its_share_when_requests_wait_elsewhere() -> None:
    rebalancer = rebalancer_on(Documents(http=busy(0, interactive=ENDLESS)))
    assert await rebalancer.surplus(16, {"run": ENDLESS}, more=True) == 12
    assert rebalancer.max_slots == 4


async def test_slots_that_no_process_demands_are_free_for_all(clock: Time) -> None:
    rebalancer = rebalancer_on(Documents(http=busy(0, interactive=2)))
    assert await rebalancer.surplus(3, {"run": 5}, more=True) == 0
    assert rebalancer.max_slots == 14
    clock.now += 20
    rebalancer = rebalancer_on(Documents(http={**busy(9, interactive=9), "more": 0}))
    assert await rebalancer.surplus(3, {"run": 5}, more=True) == 0
    assert rebalancer.max_slots == 16, "no other process needs more"


async def test_a_gap_between_jobs_moves_no_slot(clock: Time) -> None:
    """An idle slot is handed over after the time of the peak, if another process needs it."""
    rebalancer = rebalancer_on(Documents(run=busy(11, run=ENDLESS)))
    assert await rebalancer.surplus(5, {"interactive": 5}, more=False) == 0
    clock.now += 10
    assert await rebalancer.surplus(5, {"interactive": 0}, more=False) == 0
    clock.now += 10
    assert await rebalancer.surplus(5, {"interactive": 0}, more=False) == 5


async def test_a_competing_process_makes_two_calls_in_five_seconds(clock: Time) -> None:
    documents = Documents(http=busy(12, interactive=ENDLESS))
    rebalancer = rebalancer_on(documents)
    for _ in range(60):
        await rebalancer.surplus(4, {"run": ENDLESS}, more=True)
        await rebalancer.publish_demand(4, {"run": ENDLESS}, more=True)
        clock.now += 1
    assert Counter(call.split()[0] for call in documents.calls) == {"read": 12, "publish": 12}


async def test_a_slot_is_given_after_another_process_looks_for_it(clock: Time) -> None:
    """Seven runs share four slots in turns. A slot is not idle between two turns."""
    names = ["a", "b", "c", "d", "e", "f"]
    others = {name: busy(0, run=ENDLESS) for name in names} | {"http": busy(12, interactive=ENDLESS)}
    rebalancer = rebalancer_on(Documents(**others))
    seen: list[tuple[int, int]] = []
    while len(seen) < 90:
        surplus = await rebalancer.surplus(1, {"run": ENDLESS}, more=True)
        seen.append((rebalancer.max_slots, surplus))
        clock.now += 5
    assert {slots for slots, _ in seen} == {0, 1}
    ended = [at for at in range(1, len(seen)) if seen[at - 1][0] > seen[at][0]]
    assert ended
    assert all([surplus for _, surplus in seen[at : at + 3]] == [0, 0, 1] for at in ended[:-1])


async def test_the_shares_inside_a_process_follow_the_division(clock: Time) -> None:
    """The other process has requests only. So this one takes the runs' part of the whole pool."""
    documents = Documents(http=busy(8, interactive=ENDLESS))
    rebalancer = rebalancer_on(documents)
    await rebalancer.surplus(8, {"interactive": ENDLESS, "run": ENDLESS}, more=True)
    assert rebalancer.shares == {"upload": 0.12, "run": 4 / 10}
    documents.others = {}
    clock.now += 5
    await rebalancer.surplus(8, {"interactive": ENDLESS, "run": ENDLESS}, more=True)
    assert rebalancer.shares == SHARES


async def test_a_process_demands_no_more_slots_than_its_limit() -> None:
    """It divides them like the pool, so that requests do not hide the jobs of a run."""
    documents = Documents()
    await rebalancer_on(documents, limit=10).publish_demand(3, {"interactive": 4, "upload": 9, "run": 9}, more=True)
    assert documents.calls == ["publish held=3 more=1 interactive=4 upload=4 run=2"]


async def test_demand_is_published_once_per_interval_and_withdrawn() -> None:
    documents = Documents()
    rebalancer = rebalancer_on(documents)
    for more in (True, True, False, False):
        await rebalancer.publish_demand(2, {"run": 3}, more=more)
    assert documents.calls == ["publish held=2 more=1 run=3", "withdraw"]


async def test_an_idle_process_forgets_the_demands_of_others(clock: Time) -> None:
    """Else a request after a quiet time would wait for a read before it looks for a slot."""
    rebalancer = rebalancer_on(Documents(http=busy(16, interactive=ENDLESS), uploads=busy(0, upload=ENDLESS)))
    await rebalancer.surplus(2, {"run": 9}, more=True)
    assert rebalancer.max_slots == 4
    clock.now += 16
    await rebalancer.surplus(0, {}, more=False)
    assert rebalancer.max_slots == 16


async def test_a_storage_error_is_logged_and_retried(clock: Time, caplog: pytest.LogCaptureFixture) -> None:
    documents = Documents(http=busy(0, interactive=ENDLESS))
    rebalancer = rebalancer_on(documents)
    documents.fails = True
    assert await rebalancer.surplus(9, {"run": 9}, more=True) == 0
    await rebalancer.publish_demand(9, {"run": 9}, more=True)
    assert "event=slot.demand_unreadable" in caplog.text
    assert "event=slot.demand_unpublished" in caplog.text
    documents.fails = False
    clock.now += 6
    assert await rebalancer.surplus(9, {"run": 9}, more=True) > 0
    await rebalancer.publish_demand(9, {"run": 9}, more=True)
    assert documents.calls == ["read", "publish held=9 more=1 run=9"] * 2
