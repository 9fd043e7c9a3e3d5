"""What an image costs in calls, and that transfers overlap with runs: counted and ordered, never timed."""

from __future__ import annotations

import asyncio
import itertools
import time
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from azure.core.pipeline.transport import AioHttpTransport

from pipeline.cli import timeline
from pipeline.pool.transport import Transport
from pipeline.storage.ledger import Entry
from tests.images import picture
from tests.pipeline.test_bad_days import faults
from tests.session_pool_emulator.emulator import Emulator, run_emulator
from tests.stack import Stack, environment, opened

RENEWED = 20.0


def beside(began: float) -> float:
    """Calls that go on beside the images: figures and wishes, written every few seconds at most."""
    return 8 + (time.monotonic() - began) / 2


class Calls:
    """The calls that were sent since the count began, to storage by method and what they are about, and to the pool."""

    def __init__(self) -> None:
        self.storage: Counter[str] = Counter()
        self.pool: Counter[str] = Counter()

    def clear(self) -> None:
        """Begin anew."""
        self.storage.clear()
        self.pool.clear()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Counts every request where it is handed to the network, tries included."""
    found = Calls()
    send, handle = AioHttpTransport.send, Transport.handle_async_request

    async def to_storage(self: Any, request: Any, **options: Any) -> Any:
        found.storage[f"{request.method} {'lease' if 'comp=lease' in request.url else 'other'}"] += 1
        return await send(self, request, **options)

    async def to_pool(self: Any, request: httpx.Request) -> httpx.Response:
        found.pool[f"{request.method} {request.url.path.split('/')[1]}"] += 1
        return await handle(self, request)

    monkeypatch.setattr(AioHttpTransport, "send", to_storage)
    monkeypatch.setattr(Transport, "handle_async_request", to_pool)
    return found


async def done(stack: Stack, names: list[str], recipe: str = "tutorial") -> list[Entry]:
    """All of these at once."""
    services, container = stack.services, stack.services.settings.input_container
    jobs = [services.executor.execute(container, name, services.recipes.get(recipe)) for name in names]
    entries = await asyncio.gather(*jobs)
    assert {entry.state for entry in entries} == {"done"}
    return list(entries)


async def dropped(stack: Stack, prefix: str, count: int, data: bytes | None = None) -> list[str]:
    names = [f"{prefix}/{number:02}.jpg" for number in range(count)]
    for name in names:
        await stack.drop(name, data or picture(420, 420))
    return names


async def test_an_image_costs_three_calls_to_the_pool_at_most_and_three_to_storage_beside_its_renditions(
    environ: dict[str, str], calls: Calls
) -> None:
    images = 24
    async with opened({**environ, "PIPELINE_POOL_MAX_SESSIONS": "1"}) as stack:
        await done(stack, await dropped(stack, "warm", 2))
        names = await dropped(stack, "photos", images)
        calls.clear()
        began = time.monotonic()
        await done(stack, names)
        renewals, others = (time.monotonic() - began) // RENEWED + 1, beside(began)
        found = Calls()
        found.storage, found.pool = calls.storage.copy(), calls.pool.copy()
    leases = sum(count for what, count in found.storage.items() if what.endswith("lease"))
    assert leases <= renewals, "none for an image"
    assert sum(found.storage.values()) <= images * (3 + 1) + others
    assert sum(found.pool.values()) <= images * 3
    assert found.pool["POST executions"] < images, "several run together"
    assert found.pool["POST files"] == images
    assert found.pool["GET files"] < images, "small renditions of those are fetched together"


async def test_renditions_cost_one_call_to_storage_each(environ: dict[str, str], calls: Calls) -> None:
    images = 8
    async with opened({**environ, "PIPELINE_POOL_MAX_SESSIONS": "1"}) as stack:
        await done(stack, await dropped(stack, "warm", 1))
        names = await dropped(stack, "photos", images)
        calls.clear()
        began = time.monotonic()
        await done(stack, names, "web")
        assert sum(calls.storage.values()) <= images * (3 + 2) + beside(began)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[Emulator]:
    """A pool whose faults can be set while it runs."""
    async with run_emulator("--admin", "--max-sessions", "2", "--spares", "1") as pool:
        yield pool


async def test_while_one_image_runs_the_next_comes_in_and_the_last_goes_out(
    azurite: str, pool: Emulator, recipe_file: object
) -> None:
    """With a run that takes a while, and every transfer too: seen in what the jobs noted themselves."""
    environ = environment(azurite, pool.url, recipe_file)  # type: ignore[arg-type]
    one = {"PIPELINE_POOL_MAX_SESSIONS": "1", "PIPELINE_MICROBATCH_MAX_JOBS": "1"}
    async with opened({**environ, **one}) as stack:
        await done(stack, await dropped(stack, "warm", 1))
        names = await dropped(stack, "photos", 6)
        await faults(stack, "latency:seconds=0.3")
        entries = await done(stack, names)
        await faults(stack)
    lanes = timeline.lanes((entry.name, entry.report) for entry in entries)
    assert {lane.session for lane in lanes} == {"000.1"}
    for stage in ("upload", "download"):
        assert any(_overlap(one, stage, other) for one in lanes for other in lanes if one is not other), stage
    runs = sorted((each.start, each.end) for lane in lanes for each in lane.stretches if each.stage == "execute")
    assert all(end <= start + 0.01 for (_, end), (start, _) in itertools.pairwise(runs)), "one at a time"


def _overlap(one: timeline.Lane, stage: str, other: timeline.Lane) -> bool:
    """Whether that stage of one job went on while the other ran."""
    mine = [each for each in one.stretches if each.stage == stage]
    runs = [each for each in other.stretches if each.stage == "execute"]
    return any(a.start < b.end and b.start < a.end for a in mine for b in runs)


async def test_images_in_flight_are_never_held_whole(environ: dict[str, str]) -> None:
    """Twelve of 16 MB: four at once are on their way into sessions, the others wait, and none is in memory."""
    size = 16 * 1024 * 1024
    padded = picture(420, 420) + bytes(size)
    async with opened(environ) as stack:
        await done(stack, await dropped(stack, "warm", 2))
        names = await dropped(stack, "photos", 12, padded)
        tracemalloc.start(1)
        try:
            await done(stack, names)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 2 * size, "at most a few MB for each of the four"
