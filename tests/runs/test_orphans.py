"""Orphans: renditions without a source or recipe are found exactly, and deleted only on request."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.services import Services
from tests.images import image_bytes
from tests.stack import RECIPES, Stack, open_stack

# Longer than a key: only the row in the ledger holds the full name.
LONG = "photos/" + "x" * 490 + ".jpg"


async def made(stack: Stack, *names: str) -> None:
    """Upload sources and execute their jobs."""
    for name in names:
        await stack.upload(name, image_bytes(60, 40))
        await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, name)


async def found(services: Services) -> list[tuple[str, str]]:
    """Return the paths of all orphans, with their reasons."""
    return sorted([(orphan.blob.path, orphan.why) async for orphan in services.orphans.find()])


@pytest.mark.both
async def test_only_orphans_are_found_and_deleted(stack: Stack) -> None:
    await made(stack, "photos/a b/ü.jpg", "photos/kept.jpg", LONG)
    output = stack.services.account.container(stack.services.settings.output_container)
    await output.upload_blob("web/small/photos/a b/other.webp", b"of another owner")
    assert await found(stack.services) == []
    before = set(await stack.outputs())
    for name in ("photos/a b/ü.jpg", LONG):
        await stack.services.account.container(stack.services.settings.input_container).delete_blob(name)
    orphans = [orphan async for orphan in stack.services.orphans.find()]
    assert ({orphan.why for orphan in orphans}, len(orphans)) == ({"source gone"}, 4)
    assert set(await stack.outputs()) == before, "a search deletes nothing"
    assert all([await stack.services.orphans.delete(orphan) for orphan in orphans])
    left = set(await stack.outputs())
    assert left == before - {orphan.blob.path for orphan in orphans}
    assert len(left) == 3
    assert await stack.entry("web", "photos/a b/ü.jpg") is None
    assert {entry.name for entry in (await stack.services.ledger.page())[0]} == {"photos/kept.jpg", LONG}


@pytest.mark.both
async def test_a_deleted_container_makes_no_orphans(stack: Stack) -> None:
    await made(stack, "photos/a.jpg")
    await stack.services.account.container(stack.services.settings.input_container).delete_container()
    assert await found(stack.services) == []


async def test_a_restored_source_replaces_remaining_orphans(stack: Stack) -> None:
    for seed in (1, 2, 3):
        await stack.upload("photos/a.jpg", image_bytes(60, 40, seed=seed))
        await made(stack)
        await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, "photos/a.jpg")
    await stack.services.account.container(stack.services.settings.input_container).delete_blob("photos/a.jpg")
    first = min(await stack.outputs())
    (orphan,) = [orphan async for orphan in stack.services.orphans.find(first)]
    assert await stack.services.orphans.delete(orphan)
    await made(stack, "photos/a.jpg")
    entry = await stack.entry("web", "photos/a.jpg")
    assert entry is not None
    assert entry.state == "done"


async def test_a_restored_source_keeps_its_renditions(stack: Stack) -> None:
    await made(stack, "photos/a.jpg")
    container = stack.services.account.container(stack.services.settings.input_container)
    await container.delete_blob("photos/a.jpg")
    orphans = [orphan async for orphan in stack.services.orphans.find()]
    await stack.upload("photos/a.jpg", image_bytes(80, 60))
    assert not any([await stack.services.orphans.delete(orphan) for orphan in orphans])
    assert len(await stack.outputs()) == 2


async def test_a_removed_recipe_leaves_orphans(environ: dict[str, str], recipe_file: Path) -> None:
    async with open_stack(environ) as stack:
        await made(stack, "photos/a.jpg")
    recipe_file.write_text(RECIPES.replace("  web:", "  other:"))
    async with open_stack(environ) as stack:
        assert {why for _, why in await found(stack.services)} == {"recipe gone"}
