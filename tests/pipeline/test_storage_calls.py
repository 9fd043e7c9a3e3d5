"""Storage calls of an image: three and one for each rendition, for new and for replaced renditions."""

from __future__ import annotations

import pytest

from pipeline.runs import Selection
from pipeline.settings import MIB
from pipeline.storage.account import READ_CHUNK_BYTES
from tests.images import image_bytes
from tests.memory import Memory, open_in_memory
from tests.stack import RECIPES

NAME = "photos/a.jpg"
RENDITIONS = 2


def job_calls(memory: Memory) -> list[str]:
    """Return the calls for jobs: those to sources, renditions and the ledger, without slots, queues and runs."""
    places = ("input/", "output/", "ledger")
    return [op[0] for op in memory.account.operations if str(op[1]).startswith(places) and op[0] != "blob.list"]


async def event(memory: Memory) -> None:
    await memory.services.dispatcher.handle_blob("input", NAME)


async def run_all(memory: Memory) -> list[str]:
    """Redo all jobs in a run; return the calls of its jobs, without those of the listing."""
    selection = Selection(recipes=("web",), reasons=("done", "recipe_changed"))
    await memory.services.runs.start(selection, expected_count=100)
    for body in await memory.run_messages():
        await memory.services.run_worker.handle_message(body)
    memory.account.operations.clear()
    await memory.process_messages()
    return job_calls(memory)


@pytest.mark.parametrize(
    ("size", "reads"),
    [(60_000, 1), (READ_CHUNK_BYTES, 1), (READ_CHUNK_BYTES + 1, 1 + 2), (10 * MIB, 1 + 3)],
    ids=["small", "4 MiB", "more than 4 MiB", "10 MiB"],
)
async def test_a_new_image_costs_three_calls_and_one_for_each_rendition(memory: Memory, size: int, reads: int) -> None:
    await memory.upload(NAME, image_bytes(200, 150).ljust(size, b"\0"))
    memory.account.operations.clear()
    await event(memory)
    assert sorted(job_calls(memory)) == sorted(
        ["blob.get"] * reads + ["row.create"] + ["blob.put"] * RENDITIONS + ["rows"]
    )


async def test_replaced_renditions_cost_the_same(memory: Memory) -> None:
    await memory.upload(NAME, image_bytes(200, 150))
    await event(memory)
    for _ in range(2):
        calls = await run_all(memory)
        assert sorted(calls) == sorted(["blob.get", "row.update", *["blob.put"] * RENDITIONS, "rows"])


async def test_renditions_of_another_recipe_version_cost_the_same() -> None:
    async with open_in_memory() as memory:
        await memory.upload(NAME, image_bytes(400, 300))
        await event(memory)
    async with open_in_memory(
        RECIPES.replace("width: 200", "width: 150"), account=memory.account, pool=memory.pool
    ) as newer:
        calls = await run_all(newer)
        assert len(calls) == 3 + RENDITIONS
        entry = await newer.entry("web", NAME)
        assert entry is not None
        assert {one["width"] for one in entry.renditions} == {150, 64}


async def test_a_changed_source_costs_three_calls_more(memory: Memory) -> None:
    """An event does not tell if its source is new: the row is read, and the source's version asked for."""
    await memory.upload(NAME, image_bytes(200, 150))
    await event(memory)
    await memory.upload(NAME, image_bytes(300, 150))
    memory.account.operations.clear()
    await event(memory)
    assert sorted(job_calls(memory)) == sorted(
        ["blob.get", "row.create", "row.get", "blob.head", "row.update", *["blob.put"] * RENDITIONS, "rows"]
    )


async def test_a_rendition_that_another_writer_changed_costs_two_calls_more(memory: Memory) -> None:
    await memory.upload(NAME, image_bytes(200, 150))
    await event(memory)
    entry = await memory.entry("web", NAME)
    assert entry is not None
    path = entry.renditions[0]["path"]
    blob = memory.services.account.container("output").get_blob_client(path)
    await blob.set_blob_metadata({**(await blob.get_blob_properties()).metadata, "label": "a"})
    calls = await run_all(memory)
    assert sorted(calls) == sorted(["blob.get", "row.update", *["blob.put"] * 3, "blob.head", "rows"])
    after = await memory.entry("web", NAME)
    assert after is not None
    assert after.generation > entry.generation


async def test_a_comparison_of_the_content_reads_the_source_once(memory: Memory) -> None:
    await memory.upload(NAME, image_bytes(200, 150))
    await event(memory)
    await memory.services.account.container("input").get_blob_client(NAME).set_blob_metadata({"label": "a"})
    memory.account.operations.clear()
    await event(memory)
    assert sorted(job_calls(memory)) == sorted(["blob.get", "row.create", "row.get", "blob.head", "row.update"])
