"""A lost or restored ledger is rebuilt from the renditions: complete sets only, and nothing is rendered again."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from pipeline.errors import StateConflict
from pipeline.runs.ledger_rebuild import RebuildProgress
from pipeline.runs.selection import Selection
from pipeline.storage import Entry, JobKey, Message, create_all
from pipeline.testing import MemoryAccount
from tests.images import image_bytes
from tests.memory import Memory, open_in_memory
from tests.stack import RECIPES, Stack, open_stack

LONG = "photos/" + "ü/" * 100 + "x" * 300 + ".jpg"
PATHS = RECIPES.replace("  web:\n", '  web:\n    path: "{rendition}/{path}-{hash}.{ext}"\n')
CROP = {"transforms": [{"crop": {"box": [0, 0, 10, 10]}}], "renditions": {"a": {"format": "png"}}}
IMAGE = image_bytes(24, 16)


@pytest_asyncio.fixture
async def stack() -> AsyncIterator[Memory]:
    async with open_in_memory(PATHS, adhoc_recipes="on") as stack:
        yield stack


async def processed(stack: Stack, *names: str, data: bytes = IMAGE) -> None:
    """Upload sources and execute their jobs."""
    container = stack.services.settings.input_container

    async def one(name: str) -> None:
        await stack.upload(name, data)
        await stack.services.dispatcher.handle_blob(container, name)

    await asyncio.gather(*map(one, names))


async def lose_ledger(stack: Stack) -> None:
    """Delete the rows of all jobs."""
    table = stack.services.account.table(stack.services.settings.ledger_table)
    async for row in table.query_entities("PartitionKey lt @end", parameters={"end": "~"}):
        await table.delete_entity(row["PartitionKey"], row["RowKey"])


async def job_rows(stack: Stack) -> dict[JobKey, Entry]:
    """Return the whole rows of all done jobs."""
    listed, _ = await stack.services.ledger.page(state="done", limit=500)
    rows = await asyncio.gather(*(stack.services.ledger.get(entry.key) for entry in listed))
    return {row.key: row for row in rows if row}


async def rebuilt(stack: Stack, **options: bool) -> dict[str, int]:
    """Rebuild the ledger; return the counts that are not 0."""
    progress = await stack.services.ledger_rebuild.run(**options)
    return {name: count for name, count in progress.as_json().items() if count and name not in ("passes", "renditions")}


async def due(stack: Stack) -> dict[str, int]:
    """Return the due jobs by reason."""
    return dict((await stack.services.planner.plan(Selection(recipes=("web",)))).reasons)


async def remove(stack: Memory, container: str, start: str) -> None:
    """Delete the blobs whose names start so."""
    client = stack.account.container(container)
    async for blob in client.list_blobs(name_starts_with=start):
        await client.delete_blob(blob.name)


async def test_hundreds_of_renditions_are_adopted_and_nothing_is_due(stack: Memory) -> None:
    names = [f"photos/{number:03}.jpg" for number in range(150)]
    await processed(stack, *names, LONG)
    adhoc = (await stack.services.adhoc_recipes.keep(CROP)).name
    await stack.services.dispatcher.execute_message(Message(recipe=adhoc, container="input", name=names[0]))
    before = await job_rows(stack)
    await lose_ledger(stack)
    assert await due(stack) == {"new": 151}
    assert await rebuilt(stack, dry_run=True) == {"adopted": 152}
    assert await due(stack) == {"new": 151}, "a dry run writes nothing"
    assert await rebuilt(stack) == {"adopted": 152}
    assert await due(stack) == {}
    after = await job_rows(stack)
    assert len(after) == 152
    assert {key: entry.renditions for key, entry in after.items()} == {
        key: entry.renditions for key, entry in before.items()
    }
    one = next(iter(after))
    row, old = after[one], before[one]
    assert (row.name, row.version, row.source_format) == (old.name, old.version, "JPEG")
    assert (row.bytes_in, row.bytes_out) == (old.bytes_in, old.bytes_out)
    assert (row.source.sha256, row.source.size) == (hashlib.sha256(IMAGE).hexdigest(), len(IMAGE))
    assert len(row.outputs) == len(row.renditions), "the next job replaces each rendition with one call"
    assert row.generation > old.generation, "later claims are newer than all renditions"
    assert await rebuilt(stack) == {"present": 152}, "it can be repeated"


async def test_only_complete_sets_of_unchanged_sources_are_adopted(stack: Memory) -> None:
    await processed(stack, *(f"photos/{name}.jpg" for name in ("whole", "half", "gone", "other", "same", "size")))
    await remove(stack, "output", "small/photos/half")
    await remove(stack, "input", "photos/gone")
    await stack.upload("photos/same.jpg", IMAGE)
    await stack.upload("photos/other.jpg", IMAGE[:-1] + b"\x00")
    await stack.upload("photos/size.jpg", image_bytes(80, 60))
    await lose_ledger(stack)
    expected = {"adopted": 2, "incomplete": 1, "source_gone": 1, "source_changed": 2, "compared": 2}
    assert await rebuilt(stack) == expected
    assert await due(stack) == {"new": 3}
    assert {entry.name for entry in (await stack.services.ledger.page())[0]} == {"photos/whole.jpg", "photos/same.jpg"}


async def test_renditions_of_other_recipe_versions_stay_due() -> None:
    account = MemoryAccount()
    async with open_in_memory(PATHS, account) as stack:
        await processed(stack, "photos/a.jpg")
        await lose_ledger(stack)
    async with open_in_memory(PATHS.replace("quality: 80", "quality: 70"), account) as stack:
        assert await rebuilt(stack) == {"other_recipe": 2}
        assert await due(stack) == {"new": 1}
        await stack.services.dispatcher.handle_blob("input", "photos/a.jpg")
        assert await due(stack) == {}


async def test_forged_copied_and_edited_marks_are_not_adopted(stack: Memory) -> None:
    await processed(stack, "photos/a.jpg", "photos/b.jpg")
    await stack.upload("photos/c.jpg", IMAGE)
    output = stack.account.container("output")
    for blob in [blob async for blob in output.list_blobs(include=["metadata"]) if "/a.jpg" in blob.name]:
        data = await (await output.download_blob(blob.name)).readall()
        await output.upload_blob(blob.name.replace("a.jpg", "c.jpg"), data, metadata=blob.metadata)
        forged = {**blob.metadata, "pipeline_job": blob.metadata["pipeline_job"].replace("web.", "tutorial.")}
        await output.upload_blob(f"forged/{blob.name}", data, metadata=forged)
        edited = {**blob.metadata, "pipeline_generation": "9" * 30}
        await output.upload_blob(f"edited/{blob.name}", data, metadata=edited)
        await output.upload_blob(f"other/{blob.name}", data, metadata={**blob.metadata, "pipeline_job": "x"})
    await remove(stack, "output", "small/photos/b.jpg")
    await lose_ledger(stack)
    counts = await rebuilt(stack)
    assert counts["adopted"] == 1
    assert counts["incomplete"] == 1
    assert counts.get("foreign", 0) + counts.get("other_recipe", 0) == 8
    assert [entry.name for entry in (await stack.services.ledger.page())[0]] == ["photos/a.jpg"]
    assert await due(stack) == {"new": 2}


@pytest.mark.parametrize(("tag", "is_due"), [("0.2,0.2", False), ("0.9,0.9", True)])
async def test_a_focal_point_must_be_that_of_the_renditions(tag: str, is_due: bool) -> None:
    recipes = PATHS.replace("resize: {width: 200}", "resize: {width: 8, height: 8, mode: cover, gravity: [focal]}")
    async with open_in_memory(recipes) as stack:
        await stack.upload("photos/a.jpg", IMAGE)
        blob = stack.account.container("input").get_blob_client("photos/a.jpg")
        await blob.set_blob_tags({"focal": "0.2,0.2"})
        await stack.services.dispatcher.handle_blob("input", "photos/a.jpg")
        await lose_ledger(stack)
        await blob.set_blob_tags({"focal": tag})
        assert await rebuilt(stack) == ({"source_changed": 1} if is_due else {"adopted": 1})
        assert await due(stack) == ({"new": 1} if is_due else {})


async def test_a_source_that_storage_refuses_stops_no_rebuild(stack: Memory) -> None:
    await processed(stack, "photos/a.jpg", "photos/b.jpg")
    await lose_ledger(stack)
    await stack.account.container("input").get_blob_client("photos/a.jpg").set_blob_metadata({"note": "new ETag"})
    stack.account.fail("blob.get input/photos/a.jpg", 409, "BlobArchived")
    assert await rebuilt(stack) == {"adopted": 1, "source_refused": 1}


async def test_a_restored_ledger_gets_the_newer_results_and_keeps_newer_rows(stack: Memory) -> None:
    await processed(stack, "photos/a.jpg", "photos/b.jpg")
    backup = stack.account.store.rows
    await processed(stack, "photos/a.jpg", data=image_bytes(30, 20))
    await processed(stack, "photos/new.jpg")
    stack.account.store = replace(stack.account.store, rows=backup)
    assert await due(stack) == {"changed": 1, "new": 1}
    kept = await stack.entry("web", "photos/b.jpg")
    counts = await rebuilt(stack)
    # The first renditions of a.jpg are at other paths: they are a complete set of an older version.
    assert (counts["adopted"], counts["present"]) == (2, 2)
    assert await due(stack) == {}
    assert await stack.entry("web", "photos/b.jpg") == kept


async def test_a_backup_of_a_running_job_gets_its_result(stack: Memory) -> None:
    backup = {}

    async def copy() -> None:
        backup["rows"] = stack.account.store.rows

    stack.before_next("POST executions", copy)
    await processed(stack, "photos/a.jpg")
    stack.account.store = replace(stack.account.store, rows=backup["rows"])
    assert await rebuilt(stack) == {"present": 1}, "a worker may hold the claim"
    stack.expire_claims()
    assert await rebuilt(stack) == {"adopted": 1}
    assert await due(stack) == {}


async def test_a_job_after_the_rebuild_replaces_the_adopted_renditions(stack: Memory) -> None:
    await processed(stack, "photos/a.jpg")
    await lose_ledger(stack)
    await rebuilt(stack)
    await processed(stack, "photos/a.jpg", data=image_bytes(30, 20))
    entry = await stack.entry("web", "photos/a.jpg")
    assert entry is not None
    assert entry.state == "done"
    assert [why for _, why in sorted([(o.blob.path, o.why) async for o in stack.services.orphans.find()])] == [
        "replaced",
        "replaced",
    ]


async def test_the_memory_is_bounded_by_reading_the_listing_again(stack: Memory) -> None:
    await processed(stack, *(f"photos/{number:02}.jpg" for number in range(40)))
    await lose_ledger(stack)
    seen: list[int] = []

    def report(progress: RebuildProgress) -> None:
        seen.append(progress.passes)

    limited = replace(stack.services.ledger_rebuild, max_waiting=10)
    progress = await limited.run(report=report)
    assert (progress.outcomes["adopted"], progress.renditions) == (40, 80)
    assert seen == list(range(1, progress.passes + 1))
    assert progress.passes > 3
    assert await due(stack) == {}


async def test_a_rebuild_with_other_recipes_than_the_apps_is_refused() -> None:
    account = MemoryAccount()
    async with open_in_memory(PATHS, account) as stack:
        await stack.services.active_recipes.publish()
    async with open_in_memory(RECIPES, account) as stack:
        with pytest.raises(StateConflict, match="the ledger is not rebuilt"):
            await stack.services.ledger_rebuild.run()


async def test_a_deleted_table_is_rebuilt(environ: dict[str, str]) -> None:
    async with open_stack(environ) as stack:
        services, settings = stack.services, stack.services.settings
        await processed(stack, "photos/a.jpg", LONG)
        await services.account.table(settings.ledger_table).delete_table()
        await create_all(services.account, settings)
        await stack.upload("photos/a.jpg", IMAGE)
        assert await rebuilt(stack) == {"adopted": 2, "compared": 1}
        assert await due(stack) == {}
