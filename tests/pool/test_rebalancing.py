"""Rebalancing: processes with work for more slots than there are come to hold about as many each."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from pipeline.errors import PoolFull, StorageUnavailable
from pipeline.pool.rebalancing import SlotDemand, SlotRebalancer, fair_share
from pipeline.pool.scheduler import SlotScheduler
from tests.memory import Memory, open_in_memory
from tests.pool.helpers import another_process, documents_of
from tests.waiting import eventually


async def run_jobs(scheduler: SlotScheduler, stop: asyncio.Event) -> None:
    """Run one short job after another."""
    while not stop.is_set():
        try:
            async with scheduler.acquire_slot():
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

        async def recorded(held: int, *, more: bool) -> int:
            surpluses.append(await surplus(held, more=more))
            return surpluses[-1]

        rebalancer.surplus = recorded
        tasks += [asyncio.create_task(run_jobs(other, stop)) for other in others for _ in range(24)]
        await eventually(lambda: all(2 <= held(each) <= 4 for each in [first, *others]), timeout=90)
        assert max(surpluses) > 1
        stop.set()
        await asyncio.gather(*tasks)


async def test_demands_of_others_are_read_until_withdrawn(memory: Memory) -> None:
    mine, theirs = documents_of(memory), documents_of(memory)
    await mine.publish_demand(3, more=True)
    await theirs.publish_demand(1, more=True)
    assert (await mine.demands(), await theirs.demands()) == ([(1, True)], [(3, True)])
    await theirs.publish_demand(2, more=False)
    assert await mine.demands() == [(2, False)]
    for _ in range(2):
        await theirs.withdraw_demand()
    assert await mine.demands() == []


@pytest.mark.parametrize(
    ("capacity", "demands", "share"),
    [
        (16, [SlotDemand(12, False), SlotDemand(4, True), SlotDemand(0, True), SlotDemand(0, True)], 4),
        (16, [SlotDemand(2, False), SlotDemand(9, True), SlotDemand(0, True)], 7),
        (16, [SlotDemand(1, False), SlotDemand(1, False), SlotDemand(14, False)], 16),
        (2, [SlotDemand(2, True), SlotDemand(0, True), SlotDemand(0, True)], 1),
        (5, [SlotDemand(5, True), SlotDemand(0, True)], 3),
    ],
    ids=["all want over a quarter", "one needs less", "none needs more", "too few for all", "odd"],
)
def test_needy_processes_share_the_rest_evenly(capacity: int, demands: list[SlotDemand], share: int) -> None:
    assert fair_share(capacity, demands) == share


class Documents:
    """Store of demands that records the calls, and fails when told to."""

    def __init__(self, *others: tuple[int, bool]) -> None:
        self.others, self.calls = list(others), list[str]()
        self.fails = False

    def _record(self, call: str) -> None:
        self.calls.append(call)
        if self.fails:
            raise StorageUnavailable("down")

    async def demands(self) -> list[tuple[int, bool]]:
        self._record("read")
        return self.others

    async def publish_demand(self, held: int, *, more: bool) -> None:
        self._record(f"publish {held} {more}")

    async def withdraw_demand(self) -> None:
        self._record("withdraw")


def rebalancer_on(documents: Any) -> SlotRebalancer:
    """Create a rebalancer of a pool of 16 slots."""
    return SlotRebalancer(documents, 16)


async def test_a_process_that_is_alone_and_idle_makes_no_call() -> None:
    documents = Documents()
    rebalancer = rebalancer_on(documents)
    assert await rebalancer.surplus(1, more=False) == 0
    await rebalancer.publish_demand(1, more=False)
    assert documents.calls == []


async def test_two_slots_more_than_a_needy_process_is_one_too_many() -> None:
    rebalancer = rebalancer_on(Documents((1, True)))
    assert await rebalancer.surplus(3, more=True) == 1
    assert rebalancer.max_slots == 2


async def test_demand_is_published_once_per_interval_and_withdrawn() -> None:
    documents = Documents()
    rebalancer = rebalancer_on(documents)
    for more in (True, True, False, False):
        await rebalancer.publish_demand(2, more=more)
    assert documents.calls == ["publish 2 True", "withdraw"]


@pytest.mark.usefixtures("short_intervals")
async def test_a_storage_error_is_logged_and_retried(caplog: pytest.LogCaptureFixture) -> None:
    documents = Documents((0, True))
    rebalancer = rebalancer_on(documents)
    documents.fails = True
    assert await rebalancer.surplus(9, more=True) == 0
    await rebalancer.publish_demand(9, more=True)
    assert "event=slot.demand_unreadable" in caplog.text
    assert "event=slot.demand_unpublished" in caplog.text
    documents.fails = False
    await asyncio.sleep(0.06)
    assert await rebalancer.surplus(9, more=True) > 0
    await rebalancer.publish_demand(9, more=True)
    assert documents.calls == ["read", "publish 9 True"] * 2
