"""Two processes with work for more slots than there are come to hold about as many each."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from pipeline.errors import PoolFull
from pipeline.sessions import sharing
from pipeline.sessions.slots import Slots
from pipeline.storage.leases import LeasedDocuments
from tests.stack import Stack, opened
from tests.waiting import eventually


def another_process(stack: Stack) -> Slots:
    """Its own slots and wishes, in the same storage."""
    settings = stack.services.settings
    documents = LeasedDocuments(stack.services.account, settings.state_container, "slots/", settings.slot_lease)
    return Slots(settings, documents, stack.services.pool)


async def busy(slots: Slots, stop: asyncio.Event) -> None:
    """Jobs that take a moment, one after another."""
    while not stop.is_set():
        try:
            async with slots.seat():
                await asyncio.sleep(0.02)
        except PoolFull:
            continue


@pytest.fixture
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "EVERY", 0.5)
    monkeypatch.setattr(sharing, "POLITE", 3.0)


@pytest.mark.usefixtures("_quickly")
async def test_a_process_that_comes_later_gets_its_part(environ: dict[str, str]) -> None:
    async with opened({**environ, "PIPELINE_POOL_MAX_SESSIONS": "4"}) as stack, AsyncExitStack() as parts:
        first, second, stop = stack.services.slots, another_process(stack), asyncio.Event()
        parts.push_async_callback(second.close)
        tasks = [asyncio.create_task(busy(first, stop)) for _ in range(12)]
        await eventually(lambda: len(first._slots) == 4)
        tasks += [asyncio.create_task(busy(second, stop)) for _ in range(12)]
        await eventually(lambda: (len(first._slots), len(second._slots)) == (2, 2), timeout=60)
        stop.set()
        await asyncio.gather(*tasks)


async def test_wishes_of_others_are_seen_as_long_as_they_hold(stack: Stack) -> None:
    settings, account = stack.services.settings, stack.services.account
    mine, theirs = (LeasedDocuments(account, settings.state_container, "slots/", 15) for _ in range(2))
    await mine.wish(3)
    await theirs.wish(1)
    assert (await mine.wishes(), await theirs.wishes()) == ([1], [3])
    await theirs.wish(2)
    assert await mine.wishes() == [2]
    for _ in range(2):
        await theirs.wish_no_more()
    assert await mine.wishes() == []
