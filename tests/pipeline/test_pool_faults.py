"""Faults of the session pool: a job succeeds, or ends as a failure with its reason."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from pipeline.storage.ledger import Entry
from tests.images import image_bytes
from tests.session_pool_emulator.emulator import Emulator, run_emulator
from tests.stack import Stack, environment, open_stack
from tests.waiting import eventually

NAME = "photos/a.jpg"
DOWNLOAD, UPLOAD, RUN = "on=content,method=GET", "on=files,method=POST", "on=executions"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[Emulator]:
    """Start a pool whose faults can be set while it runs."""
    async with run_emulator("--admin", "--max-sessions", "6", "--spares", "2") as pool:
        yield pool


@pytest_asyncio.fixture
async def stack(azurite: str, pool: Emulator, recipe_file: object) -> AsyncIterator[Stack]:
    """Open services with short timeouts on the pool with faults."""
    environ = environment(azurite, pool.url, recipe_file)  # type: ignore[arg-type]
    quick = {"PIPELINE_TRANSFER_TIMEOUT": "2", "PIPELINE_RETRY_TIMEOUT": "20", "PIPELINE_RETRY_MAX_ATTEMPTS": "4"}
    async with open_stack({**environ, **quick}) as stack:
        yield stack
        await faults(stack)


async def faults(stack: Stack, *wanted: str) -> None:
    """Replace the pool's faults."""
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.put(
            f"{stack.environ['PIPELINE_POOL_ENDPOINT']}/.admin/faults", json={"faults": list(wanted)}
        )
    answer.raise_for_status()


async def photo(stack: Stack) -> Entry:
    """Upload an image; return the row of its job."""
    await stack.upload(NAME, image_bytes())
    await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, NAME)
    entry = await stack.entry("web", NAME)
    assert entry is not None
    return entry


@pytest.mark.parametrize(
    "fault",
    [
        f"status:code=503,next=2,{DOWNLOAD}",
        f"drop:next=1,{DOWNLOAD}",
        f"truncate:next=1,{DOWNLOAD}",
        f"hang:next=1,{DOWNLOAD}",
        f"lose-file:next=1,{DOWNLOAD}",
        f"status:code=429,next=2,{UPLOAD}",
        f"status:code=500,next=1,{UPLOAD}",
        f"drop:next=1,{UPLOAD}",
        f"hang:next=1,{UPLOAD}",
        f"status:code=401,next=1,{UPLOAD}",
        f"status:code=503,retry_after=1,next=1,{RUN}",
        f"status:code=429,next=1,{RUN}",
        f"drop:next=1,{RUN}",
        f"truncate:next=1,{RUN}",
        f"lose-file:next=1,{RUN}",
        f"replace-session:next=1,{RUN}",
        f"replace-session:next=1,{DOWNLOAD}",
        "kill-kernel:next=1",
        "latency:seconds=0.2",
    ],
)
async def test_a_single_fault_costs_no_image(stack: Stack, pool: Emulator, fault: str) -> None:
    await faults(stack, fault)
    before = len(pool.events("fault"))
    entry = await photo(stack)
    assert len(pool.events("fault")) > before, "the fault did not happen"
    assert (entry.state, entry.error_kind) == ("done", "")
    assert len(await stack.outputs()) == 2
    assert await stack.waiting_messages() == 0


async def test_a_hanging_execution_delays_no_other_job(stack: Stack, pool: Emulator) -> None:
    """Jobs that are queued behind it in the same session are not delayed either."""
    assert (await photo(stack)).state == "done"
    await faults(stack, f"hang:next=1,{RUN}")
    before = len(pool.events("fault"))
    container, names = stack.services.settings.input_container, [f"photos/{number}.jpg" for number in range(9)]
    for name in names:
        await stack.upload(name, image_bytes())
    hanging = asyncio.create_task(stack.services.dispatcher.handle_blob(container, names.pop()))
    await eventually(lambda: len(pool.events("fault")) > before)
    await asyncio.gather(*(stack.services.dispatcher.handle_blob(container, name) for name in names))
    entries = [await stack.entry("web", name) for name in names]
    assert [entry.state for entry in entries if entry] == ["done"] * len(names)
    assert not hanging.done()
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)


async def test_an_image_that_kills_two_sessions_fails(stack: Stack) -> None:
    await faults(stack, "kill-kernel")
    entry = await photo(stack)
    assert (entry.state, entry.stage) == ("failed", "execute")
    assert entry.error_kind in ("session_died", "execution_interrupted")
    assert "tried in two sessions" in entry.error_message
    assert await stack.waiting_messages() == 0


async def test_a_full_pool_keeps_the_job_queued(stack: Stack) -> None:
    await faults(stack, f"status:code=429,{UPLOAD}")
    entry = await photo(stack)
    assert (entry.state, entry.error_kind, entry.attempts) == ("queued", "pool_full", 0)
    assert await stack.waiting_messages() == 1


async def test_an_unavailable_pool_is_retried_later(stack: Stack) -> None:
    await faults(stack, f"status:code=503,{UPLOAD}")
    entry = await photo(stack)
    assert (entry.state, entry.error_kind, entry.attempts) == ("queued", "pool_unavailable", 0)
    assert await stack.waiting_messages() == 1


async def test_a_slot_cools_down_if_its_session_cannot_be_ended(stack: Stack) -> None:
    await faults(stack, "drop:next=1,on=executions", "status:code=503,on=session,method=DELETE")
    assert (await photo(stack)).state == "done"
    container = stack.services.account.container(stack.services.settings.state_container)

    async def one_cools() -> bool:
        blobs = [blob.name async for blob in container.list_blobs(name_starts_with="slots/")]
        texts = [await (await container.download_blob(name)).readall() for name in blobs]
        return sum(b'"state": "cooling"' in text for text in texts) == 1

    await eventually(one_cools, timeout=40, every=0.2)
