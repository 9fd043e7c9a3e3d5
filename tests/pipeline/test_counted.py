"""Cost of an image in calls, and overlap of transfers with executions: counted and ordered, never timed."""

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

from pipeline.cli import trace
from pipeline.pool.transport import Transport
from pipeline.storage.account import READ_CHUNK_BYTES
from pipeline.storage.blobs import OPENED_AT_ONCE
from pipeline.storage.ledger import Entry
from tests.images import image_bytes
from tests.pipeline.test_pool_faults import faults
from tests.session_pool_emulator.emulator import Emulator, run_emulator
from tests.stack import Stack, environment, open_stack

LEASE_RENEWAL_SECONDS = 20.0


def other_calls(began: float) -> float:
    """Return the calls besides those of the images: metrics and slot demand, written every few seconds at most."""
    return 8 + (time.monotonic() - began) / 2


class Calls:
    """Count of the calls since the last reset: to storage by method and purpose, and to the pool."""

    def __init__(self) -> None:
        self.storage: Counter[str] = Counter()
        self.pool: Counter[str] = Counter()

    def clear(self) -> None:
        """Reset the counts."""
        self.storage.clear()
        self.pool.clear()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Count every request where it is passed to the network, retries included."""
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
    """Execute the jobs of all names at once."""
    services, container = stack.services, stack.services.settings.input_container
    jobs = [services.executor.execute(container, name, services.recipes.get(recipe)) for name in names]
    entries = await asyncio.gather(*jobs)
    assert {entry.state for entry in entries} == {"done"}
    return list(entries)


async def upload(stack: Stack, prefix: str, count: int, data: bytes | None = None) -> list[str]:
    """Upload images; return their names."""
    names = [f"{prefix}/{number:02}.jpg" for number in range(count)]
    for name in names:
        await stack.upload(name, data or image_bytes(420, 420))
    return names


async def test_an_image_costs_three_pool_and_three_storage_calls(environ: dict[str, str], calls: Calls) -> None:
    images = 24
    async with open_stack({**environ, "PIPELINE_POOL_MAX_SESSIONS": "1"}) as stack:
        await done(stack, await upload(stack, "warm", 2))
        names = await upload(stack, "photos", images)
        calls.clear()
        began = time.monotonic()
        await done(stack, names)
        renewals, others = (time.monotonic() - began) // LEASE_RENEWAL_SECONDS + 1, other_calls(began)
        found = Calls()
        found.storage, found.pool = calls.storage.copy(), calls.pool.copy()
    leases = sum(count for what, count in found.storage.items() if what.endswith("lease"))
    assert leases <= renewals, "no lease call per image"
    assert sum(found.storage.values()) <= images * (3 + 1) + others
    assert sum(found.pool.values()) <= images * 3
    assert found.pool["POST executions"] < images, "several images share an execution"
    assert found.pool["POST files"] == images
    assert found.pool["GET files"] < images, "small renditions of a microbatch are downloaded together"


async def test_renditions_cost_one_call_to_storage_each(environ: dict[str, str], calls: Calls) -> None:
    images = 8
    async with open_stack({**environ, "PIPELINE_POOL_MAX_SESSIONS": "1"}) as stack:
        await done(stack, await upload(stack, "warm", 1))
        names = await upload(stack, "photos", images)
        calls.clear()
        began = time.monotonic()
        await done(stack, names, "web")
        assert sum(calls.storage.values()) <= images * (3 + 2) + other_calls(began)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[Emulator]:
    """Start a pool whose faults can be set while it runs."""
    async with run_emulator("--admin", "--max-sessions", "2", "--spares", "1") as pool:
        yield pool


async def test_transfers_overlap_with_executions(azurite: str, pool: Emulator, recipe_file: object) -> None:
    """Executions and transfers take a while here; the spans of the jobs show the overlap."""
    environ = environment(azurite, pool.url, recipe_file)  # type: ignore[arg-type]
    one = {"PIPELINE_POOL_MAX_SESSIONS": "1", "PIPELINE_MICROBATCH_MAX_JOBS": "1"}
    async with open_stack({**environ, **one}) as stack:
        await done(stack, await upload(stack, "warm", 1))
        names = await upload(stack, "photos", 6)
        await faults(stack, "latency:seconds=0.3")
        entries = await done(stack, names)
        await faults(stack)
    lanes = trace.lanes((entry.name, entry.report) for entry in entries)
    assert {lane.session for lane in lanes} == {"000.1"}
    for stage in ("upload", "download"):
        assert any(_overlap(one, stage, other) for one in lanes for other in lanes if one is not other), stage
    runs = sorted((each.start, each.end) for lane in lanes for each in lane.spans if each.stage == "execute")
    assert all(end <= start + 0.01 for (_, end), (start, _) in itertools.pairwise(runs)), (
        "a session executes one at a time"
    )


def _overlap(one: trace.Lane, stage: str, other: trace.Lane) -> bool:
    """Return True if a stage of one job overlaps the execution of another one."""
    mine = [each for each in one.spans if each.stage == stage]
    runs = [each for each in other.spans if each.stage == "execute"]
    return any(a.start < b.end and b.start < a.end for a in mine for b in runs)


async def test_images_in_flight_are_never_held_whole(environ: dict[str, str]) -> None:
    """Of twelve images of 16 MB, four are uploaded at once; the others wait and are not in memory.

    A part of 4 MiB is held twice for a moment while it arrives, for an upload or for the opening of a source.
    """
    size = 16 * 1024 * 1024
    padded = image_bytes(420, 420) + bytes(size)
    async with open_stack(environ) as stack:
        await done(stack, await upload(stack, "warm", 2))
        names = await upload(stack, "photos", 12, padded)
        tracemalloc.start(1)
        try:
            await done(stack, names)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < (OPENED_AT_ONCE + 4) * 2 * READ_CHUNK_BYTES, "however large the images are"
