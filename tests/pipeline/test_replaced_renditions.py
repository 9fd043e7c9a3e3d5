"""With `replaced_renditions: delete`, a done job deletes what it replaces at other paths, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pipeline.runs.selection import Selection
from pipeline.testing import MemoryAccount
from tests.images import image_bytes
from tests.memory import Memory, open_in_memory
from tests.stack import RECIPES

HASH_PATHS = RECIPES.replace("  web:\n", '  web:\n    path: "{path}/{rendition}-{hash}.{ext}"\n')
OTHER_FORMAT = RECIPES.replace("format: webp, quality: 80", "format: png")
WEBP, PNG, JPEG = (f"web/photos/a.jpg/{name}" for name in ("small.webp", "small.png", "thumb.jpg"))


async def process(stack: Memory, seed: int | None = None) -> None:
    """Upload the source, if a seed is given, and execute its job."""
    if seed is not None:
        await stack.upload("photos/a.jpg", image_bytes(60, 40, seed=seed))
    await stack.services.dispatcher.handle_blob("input", "photos/a.jpg")


async def former(stack: Memory) -> list[str]:
    """Return the paths of the former renditions in the row."""
    entry = await stack.entry("web", "photos/a.jpg")
    assert entry is not None
    return list(entry.former)


@asynccontextmanager
async def with_other_format(account: MemoryAccount, **settings: Any) -> AsyncIterator[Memory]:
    """Process the source, and open services whose recipe has another format."""
    async with open_in_memory(account=account) as stack:
        await process(stack, 1)
    async with open_in_memory(OTHER_FORMAT, account, **{"replaced_renditions": "delete", **settings}) as stack:
        yield stack


@pytest.mark.parametrize("in_run", [False, True])
async def test_the_rendition_in_the_old_format_is_deleted_once_the_job_is_done(in_run: bool) -> None:
    async with with_other_format(MemoryAccount()) as stack:
        if in_run:
            await stack.services.runs.start(Selection(), expected_count=1)
            await stack.process_messages()
        else:
            await process(stack)
        assert set(await stack.outputs()) == {PNG, JPEG}
        done = [op[0] for op in stack.account.operations if op[0] in ("rows", "row.update", "blob.delete")]
        assert done[-1] == "blob.delete" or in_run
        assert done.count("blob.delete") == 1


async def test_replaced_renditions_are_kept_by_default() -> None:
    async with with_other_format(MemoryAccount(), replaced_renditions="keep") as stack:
        await process(stack)
        assert set(await stack.outputs()) == {WEBP, PNG, JPEG}


async def test_renditions_at_paths_with_their_hash_are_not_piled_up() -> None:
    async with open_in_memory(HASH_PATHS, replaced_renditions="delete") as stack:
        for seed in range(4):
            await process(stack, seed)
        entry = await stack.entry("web", "photos/a.jpg")
        assert entry is not None
        assert set(await stack.outputs()) == {one["path"] for one in entry.renditions}
        assert len(entry.former) == 2, "only those of the last job"


async def test_a_job_that_replaces_nothing_makes_no_call_more() -> None:
    async with open_in_memory(replaced_renditions="delete") as stack:
        await process(stack, 1)
        await process(stack, 2)
        assert await former(stack) == []
        assert [op for op in stack.account.operations if op[0] == "blob.delete"] == []


async def test_a_failure_in_between_forgets_nothing() -> None:
    account = MemoryAccount()
    async with with_other_format(account) as stack:
        account.fail(f"blob.put output/{PNG}", 403, "BlobImmutableDueToPolicy")
        await process(stack)
        entry = await stack.entry("web", "photos/a.jpg")
        assert entry is not None
        assert entry.state == "failed"
        assert WEBP in await stack.outputs(), "the newer job is not done"
        await process(stack, 2)
        assert set(await stack.outputs()) == {PNG, JPEG}


async def test_a_retry_of_a_done_job_deletes_what_it_replaces() -> None:
    async with with_other_format(MemoryAccount()) as stack:
        entry = await stack.entry("web", "photos/a.jpg")
        assert entry is not None
        await stack.services.jobs.retry(entry.key)
        for message in await stack.take():
            await stack.run_queued(message)
        assert set(await stack.outputs()) == {PNG, JPEG}


async def test_a_blob_that_has_changed_since_stays() -> None:
    async with with_other_format(MemoryAccount()) as stack:
        output = stack.account.container("output")
        await output.upload_blob(WEBP, b"of another program", overwrite=True)
        await process(stack)
        assert (await stack.outputs())[WEBP] == b"of another program"


async def test_a_deletion_that_failed_is_done_with_the_next_delivery() -> None:
    account = MemoryAccount()
    async with with_other_format(account) as stack:
        account.fail(f"blob.delete output/{WEBP}", 503, "ServerBusy")
        await process(stack)
        entry = await stack.entry("web", "photos/a.jpg")
        assert entry is not None
        assert (entry.state, WEBP in await stack.outputs()) == ("done", True)
        await process(stack)
        assert set(await stack.outputs()) == {PNG, JPEG}
