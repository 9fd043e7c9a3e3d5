"""Two processes with work for more slots than there are come to hold about as many each."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from pipeline.errors import PoolFull
from pipeline.pool import rebalancing
from pipeline.pool.rebalancing import SlotDemand, fair_share
from pipeline.pool.scheduler import SlotScheduler
from pipeline.storage.leased_documents import LeasedDocuments
from tests.stack import Stack, opened
from tests.waiting import eventually


def another_process(stack: Stack) -> SlotScheduler:
    """Its own slots and wishes, in the same storage."""
    settings = stack.services.settings
    documents = LeasedDocuments(
        stack.services.account, settings.state_container, "slots/", settings.slot_lease_duration
    )
    return SlotScheduler(settings, documents, stack.services.pool)


async def busy(slots: SlotScheduler, stop: asyncio.Event) -> None:
    """Jobs that take a moment, one after another."""
    while not stop.is_set():
        try:
            async with slots.acquire_slot():
                await asyncio.sleep(0.02)
        except PoolFull:
            continue


@pytest.fixture
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebalancing, "REBALANCE_INTERVAL_SECONDS", 0.5)


@pytest.mark.usefixtures("_quickly")
async def test_a_process_that_comes_later_gets_its_part(environ: dict[str, str]) -> None:
    async with opened({**environ, "PIPELINE_POOL_MAX_SESSIONS": "4"}) as stack, AsyncExitStack() as parts:
        first, second, stop = stack.services.scheduler, another_process(stack), asyncio.Event()
        parts.push_async_callback(second.close)
        tasks = [asyncio.create_task(busy(first, stop)) for _ in range(12)]
        await eventually(lambda: len(first.leases.slots) == 4)
        tasks += [asyncio.create_task(busy(second, stop)) for _ in range(12)]
        await eventually(lambda: (len(first.leases.slots), len(second.leases.slots)) == (2, 2), timeout=60)
        stop.set()
        await asyncio.gather(*tasks)


@pytest.mark.usefixtures("_quickly")
async def test_all_that_is_too_much_is_given_up_at_once(environ: dict[str, str]) -> None:
    """Not one by one: four processes that come together share twelve slots after a look or two."""
    async with opened({**environ, "PIPELINE_POOL_MAX_SESSIONS": "12"}) as stack, AsyncExitStack() as parts:
        first, stop = stack.services.scheduler, asyncio.Event()
        others = [another_process(stack) for _ in range(3)]
        for other in others:
            parts.push_async_callback(other.close)
        tasks = [asyncio.create_task(busy(first, stop)) for _ in range(24)]
        await eventually(lambda: len(first.leases.slots) == 12)
        given: list[int] = []
        too_many = first.leases._rebalancer.surplus

        async def watched(held: int, *, more: bool) -> int:
            given.append(await too_many(held, more=more))
            return given[-1]

        first.leases._rebalancer.surplus = watched  # type: ignore[method-assign]
        tasks += [asyncio.create_task(busy(other, stop)) for other in others for _ in range(24)]
        everybody = [first, *others]
        await eventually(lambda: all(2 <= len(each.leases.slots) <= 4 for each in everybody), timeout=90)
        assert max(given) > 1
        stop.set()
        await asyncio.gather(*tasks)


async def test_wishes_of_others_are_seen_as_long_as_they_hold(stack: Stack) -> None:
    settings, account = stack.services.settings, stack.services.account
    mine, theirs = (LeasedDocuments(account, settings.state_container, "slots/", 15) for _ in range(2))
    await mine.publish_demand(3, more=True)
    await theirs.publish_demand(1, more=True)
    assert (await mine.demands(), await theirs.demands()) == ([(1, True)], [(3, True)])
    await theirs.publish_demand(2, more=False)
    assert await mine.demands() == [(2, False)]
    for _ in range(2):
        await theirs.withdraw_demand()
    assert await mine.demands() == []


@pytest.mark.parametrize(
    ("capacity", "wishes", "most"),
    [
        (16, [SlotDemand(12, False), SlotDemand(4, True), SlotDemand(0, True), SlotDemand(0, True)], 4),
        (16, [SlotDemand(2, False), SlotDemand(9, True), SlotDemand(0, True)], 7),
        (16, [SlotDemand(1, False), SlotDemand(1, False), SlotDemand(14, False)], 16),
        (2, [SlotDemand(2, True), SlotDemand(0, True), SlotDemand(0, True)], 1),
        (5, [SlotDemand(5, True), SlotDemand(0, True)], 3),
    ],
    ids=["all want more than a quarter", "one is content with less", "nobody wants more", "too few for all", "odd"],
)
def test_those_who_want_more_share_evenly_what_the_content_leave(
    capacity: int, wishes: list[SlotDemand], most: int
) -> None:
    assert fair_share(capacity, wishes) == most
