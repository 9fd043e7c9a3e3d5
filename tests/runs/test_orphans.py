"""Orphans: renditions without a source or recipe, and replaced ones, are found exactly, and deleted only on request."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from pipeline.errors import StateConflict
from pipeline.storage import Message
from pipeline.testing import MemoryAccount
from tests.images import image_bytes
from tests.memory import Memory, open_in_memory
from tests.stack import RECIPES

# Longer than a key: only the row in the ledger holds the full name.
LONG = "photos/" + "x" * 490 + ".jpg"
HASH_PATHS = RECIPES.replace("  web:\n", '  web:\n    path: "{path}/{rendition}-{hash}.{ext}"\n')
OTHER_FORMAT = RECIPES.replace("format: webp, quality: 80", "format: png")
OTHER_RECIPE = RECIPES.replace("  web:", "  other:")
OLD_WEBP = "web/photos/a.jpg/small.webp"


@pytest_asyncio.fixture
async def stack() -> AsyncIterator[Memory]:
    async with open_in_memory() as stack:
        yield stack


async def made(stack: Memory, *names: str, seed: int = 0) -> None:
    """Upload sources and execute their jobs."""
    for name in names:
        await stack.upload(name, image_bytes(60, 40, seed=seed))
        await stack.services.dispatcher.handle_blob("input", name)


async def removed(stack: Memory, name: str, container: str = "input") -> None:
    """Delete a source."""
    await stack.services.account.container(container).delete_blob(name)


async def found(stack: Memory) -> list[tuple[str, str]]:
    """Return the paths of all orphans, with their reasons."""
    return sorted([(orphan.blob.path, orphan.why) async for orphan in stack.services.orphans.find()])


async def pruned(stack: Memory) -> list[bool]:
    """Find all orphans, and delete them."""
    orphans = [orphan async for orphan in stack.services.orphans.find()]
    return [await stack.services.orphans.delete(orphan) for orphan in orphans]


async def test_only_orphans_are_found_and_deleted(stack: Memory) -> None:
    await made(stack, "photos/a b/ü.jpg", "photos/kept.jpg", LONG)
    output = stack.services.account.container("output")
    await output.upload_blob("web/small/photos/a b/other.webp", b"of another owner")
    assert await found(stack) == []
    before = set(await stack.outputs())
    for name in ("photos/a b/ü.jpg", LONG):
        await removed(stack, name)
    orphans = await found(stack)
    assert ({why for _, why in orphans}, len(orphans)) == ({"source gone"}, 4)
    assert set(await stack.outputs()) == before, "a search deletes nothing"
    assert all(await pruned(stack))
    left = set(await stack.outputs())
    assert left == before - {path for path, _ in orphans}
    assert len(left) == 3
    assert await stack.entry("web", "photos/a b/ü.jpg") is None
    assert {entry.name for entry in (await stack.services.ledger.page())[0]} == {"photos/kept.jpg", LONG}


async def test_a_deleted_container_makes_no_orphans(stack: Memory) -> None:
    await made(stack, "photos/a.jpg")
    await stack.services.account.container("input").delete_container()
    assert await found(stack) == []


async def test_a_source_that_storage_refuses_hides_no_orphans(stack: Memory) -> None:
    await made(stack, "photos/a.jpg", "photos/b.jpg")
    await removed(stack, "photos/b.jpg")
    stack.account.fail("blob.head input/photos/a.jpg", 409, "BlobUsesCustomerSpecifiedEncryption")
    assert {why for _, why in await found(stack)} == {"source gone"}


async def test_a_restored_source_replaces_remaining_orphans(stack: Memory) -> None:
    for seed in (1, 2, 3):
        await made(stack, "photos/a.jpg", seed=seed)
    await removed(stack, "photos/a.jpg")
    first = min(await stack.outputs())
    (orphan,) = [orphan async for orphan in stack.services.orphans.find(first)]
    assert await stack.services.orphans.delete(orphan)
    await made(stack, "photos/a.jpg")
    entry = await stack.entry("web", "photos/a.jpg")
    assert entry is not None
    assert entry.state == "done"


async def test_a_restored_source_keeps_its_renditions(stack: Memory) -> None:
    await made(stack, "photos/a.jpg")
    await removed(stack, "photos/a.jpg")
    orphans = [orphan async for orphan in stack.services.orphans.find()]
    await stack.upload("photos/a.jpg", image_bytes(80, 60))
    assert not any([await stack.services.orphans.delete(orphan) for orphan in orphans])
    assert len(await stack.outputs()) == 2


async def test_images_of_requests_make_no_orphans_after_the_lifecycle_rule(stack: Memory) -> None:
    await stack.services.sources.put("uploads", "abc/one.jpg", image_bytes(500, 500), "image/jpeg")
    await stack.services.dispatcher.execute_message(Message(recipe="tutorial", container="uploads", name="abc/one.jpg"))
    await removed(stack, "abc/one.jpg", "uploads")
    assert list(await stack.outputs()) == ["tutorial/abc/one.jpg/crop.png"]
    assert await found(stack) == []


async def test_a_removed_recipe_leaves_orphans_once_the_app_has_removed_it() -> None:
    account = MemoryAccount()
    async with open_in_memory(account=account) as stack:
        await made(stack, "photos/a.jpg")
        await stack.services.active_recipes.publish()
    async with open_in_memory(OTHER_RECIPE, account) as stack:
        with pytest.raises(StateConflict, match="different versions of the recipe other and of 1 more"):
            await found(stack)
        await stack.services.active_recipes.publish()
        assert [why for _, why in await found(stack)] == ["recipe gone", "recipe gone"]
        assert {entry.key.recipe for entry in (await stack.services.ledger.page())[0]} == {"web"}, "still listed"
        assert await pruned(stack) == [True, True]
        assert await stack.outputs() == {}


async def test_a_recipe_is_not_gone_while_the_recipes_of_the_app_are_unknown() -> None:
    account = MemoryAccount()
    async with open_in_memory(account=account) as stack:
        await made(stack, "photos/a.jpg")
    async with open_in_memory(OTHER_RECIPE, account) as stack:
        with pytest.raises(StateConflict, match="the app has not stored its recipe versions yet"):
            await found(stack)
        await removed(stack, "photos/a.jpg")
        assert [why for _, why in await found(stack)] == ["source gone", "source gone"]


async def test_a_rendition_in_another_format_replaces_the_old_one() -> None:
    account = MemoryAccount()
    async with open_in_memory(account=account) as stack:
        await made(stack, "photos/a.jpg")
    async with open_in_memory(OTHER_FORMAT, account) as stack:
        await stack.services.dispatcher.handle_blob("input", "photos/a.jpg")
        assert await found(stack) == [(OLD_WEBP, "replaced")]
        assert await pruned(stack) == [True]
        assert set(await stack.outputs()) == {"web/photos/a.jpg/small.png", "web/photos/a.jpg/thumb.jpg"}
        assert await stack.entry("web", "photos/a.jpg") is not None
        assert await found(stack) == []


async def test_renditions_at_paths_with_their_hash_replace_the_earlier_ones() -> None:
    async with open_in_memory(HASH_PATHS) as stack:
        for seed in range(4):
            await made(stack, "photos/a.jpg", seed=seed)
        assert [why for _, why in await found(stack)] == ["replaced"] * 6
        entry = await stack.entry("web", "photos/a.jpg")
        assert entry is not None
        await pruned(stack)
        assert set(await stack.outputs()) == {one["path"] for one in entry.renditions}


async def test_a_rendition_committed_again_after_it_was_found_stays() -> None:
    account = MemoryAccount()
    async with open_in_memory(account=account) as stack:
        await made(stack, "photos/a.jpg")
    async with open_in_memory(OTHER_FORMAT, account) as stack:
        await stack.services.dispatcher.handle_blob("input", "photos/a.jpg")
        (orphan,) = [orphan async for orphan in stack.services.orphans.find()]
    async with open_in_memory(account=account) as stack:
        await stack.services.dispatcher.handle_blob("input", "photos/a.jpg")
        assert not await stack.services.orphans.delete(orphan)
        assert OLD_WEBP in await stack.outputs()


async def test_while_a_newer_job_is_not_done_nothing_is_replaced() -> None:
    account = MemoryAccount()
    async with open_in_memory(account=account) as stack:
        await made(stack, "photos/a.jpg")
    async with open_in_memory(OTHER_FORMAT, account) as stack:
        account.fail("blob.put output/", 503, "ServerBusy", times=10)
        await stack.services.dispatcher.handle_blob("input", "photos/a.jpg")
        entry = await stack.entry("web", "photos/a.jpg")
        assert entry is not None
        assert entry.state != "done"
        assert await found(stack) == []


async def test_a_forged_mark_makes_no_orphan_of_another_jobs_renditions(stack: Memory) -> None:
    await made(stack, "photos/a.jpg", "photos/b.jpg")
    entry = await stack.entry("web", "photos/b.jpg")
    assert entry is not None
    before = await stack.outputs()
    container = stack.services.account.container("output")
    mark = {"pipeline_job": entry.key.id, "pipeline_generation": "1"}
    await container.upload_blob("web/photos/a.jpg/forged.webp", b"x", metadata=mark)
    await container.upload_blob("not-an-id", b"x", metadata={"pipeline_job": "nonsense"})
    assert await found(stack) == [("web/photos/a.jpg/forged.webp", "replaced")]
    assert await pruned(stack) == [True]
    assert await stack.outputs() == {**before, "not-an-id": b"x"}
    assert await stack.entry("web", "photos/b.jpg") == entry
