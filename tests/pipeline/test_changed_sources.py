"""Sources that change during or after their jobs: content, metadata, headers and index tags."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from azure.storage.blob import ContentSettings

from pipeline.jobs.current_version import CHANGES_AT_ONCE
from pipeline.runs import Selection
from pipeline.runs.model import Progress
from pipeline.runs.worker import MAX_CHANGES
from pipeline.storage import Entry, Sources
from pipeline.storage.blobs import TAGS_REFUSED_SECONDS, HeldBytes
from pipeline.testing import pool as faults
from tests.images import image_bytes
from tests.memory import Memory, open_in_memory
from tests.stack import Stack

INPUT = "input"
FOCAL = """
recipes:
  web:
    match: {include: ["photos/**"]}
    carry: [sku]
    renditions:
      thumb: {format: jpeg, transforms: [{crop: {aspect: "1:1", gravity: focal}}]}
"""


def blob_of(stack: Stack, name: str) -> Any:
    return stack.services.account.container(stack.services.settings.input_container).get_blob_client(name)


async def touch(stack: Stack, name: str, **metadata: str) -> None:
    """Write metadata, which changes the ETag and raises no event."""
    await blob_of(stack, name).set_blob_metadata(metadata)


async def event(stack: Stack, name: str) -> None:
    await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, name)


async def row(stack: Stack, name: str) -> Entry:
    entry = await stack.entry("web", name)
    assert entry is not None
    return entry


async def is_up_to_date(stack: Stack, name: str) -> bool:
    """Tell if the job is done for the current ETag of its source."""
    entry = await row(stack, name)
    source = await stack.services.sources.stat(stack.services.settings.input_container, name)
    return (entry.state, entry.version.etag) == ("done", source.etag)


async def due(stack: Stack) -> dict[str, int]:
    plan = await stack.services.planner.plan(Selection(recipes=("web",)))
    return dict(plan.reasons)


async def run_due(stack: Stack) -> None:
    """Execute the due jobs in a run."""
    await stack.services.runs.start(Selection(recipes=("web",)), expected_count=100)
    await stack.process_messages()


@pytest.fixture
def after_open(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], Awaitable[object]]], None]:
    """Return a function that sets what happens to a source between its opening and its upload to the session.

    No bytes arrive with the opening, as with a source above 4 MiB.
    """
    monkeypatch.setattr(HeldBytes, "take", lambda *_: False)

    def set_action(action: Callable[[str], Awaitable[object]]) -> None:
        opened = Sources.open

        async def open_and_act(self: Sources, container: str, name: str) -> Any:
            source = await opened(self, container, name)
            await action(name)
            return source

        monkeypatch.setattr(Sources, "open", open_and_act)

    return set_action


# -- during the job ----------------------------------------------------------------------------------------------------


@pytest.mark.both
async def test_metadata_written_during_the_jobs_of_a_burst_loses_no_image(stack: Stack, after_open: Any) -> None:
    names = [f"photos/{number}.jpg" for number in range(8)]
    untouched = set(names)

    async def tag(name: str) -> None:
        if name in untouched:
            untouched.remove(name)
            await touch(stack, name, label="a")

    after_open(tag)
    for name in names:
        await stack.upload(name, image_bytes(300, 200))
    for name in names:
        await event(stack, name)
    assert not untouched
    assert all([await is_up_to_date(stack, name) for name in names])
    assert len(await stack.outputs()) == 2 * len(names)
    assert await stack.waiting_messages() == 0
    assert {(await row(stack, name)).attempts for name in names} == {1}


async def test_a_source_that_keeps_changing_is_requeued_and_uses_no_attempts(memory: Memory, after_open: Any) -> None:
    name, changing, opened = "photos/a.jpg", [True], list[str]()

    async def change(name: str) -> None:
        opened.append(name)
        if changing[0]:
            await touch(memory, name, count=str(len(opened)))

    after_open(change)
    await memory.upload(name, image_bytes(300, 200))
    await event(memory, name)
    assert len(opened) == 1 + CHANGES_AT_ONCE
    entry = await row(memory, name)
    assert (entry.state, entry.attempts, entry.error_kind) == ("queued", 0, "source_changed")
    (message,) = await memory.take()
    assert message["changes"] == 1
    changing[0] = False
    await memory.run_queued(message)
    assert await is_up_to_date(memory, name)
    assert (await row(memory, name)).attempts == 1


async def test_a_run_ends_although_a_source_keeps_changing(memory: Memory, after_open: Any) -> None:
    """It waits for the source with growing pauses, and leaves it to the next run in the end."""
    name, opened = "photos/a.jpg", list[str]()

    async def change(changed: str) -> None:
        if changed == name:
            opened.append(name)
            await touch(memory, name, count=str(len(opened)))

    after_open(change)
    for each in (name, "photos/b.jpg"):
        await memory.upload(each, image_bytes(300, 200))
    run = await memory.services.runs.start(Selection(recipes=("web",)), expected_count=2)
    await memory.process_messages()
    assert len(opened) == (1 + CHANGES_AT_ONCE) * (1 + MAX_CHANGES)
    assert (await memory.services.runs.get(run.id)).progress == Progress(done=1, skipped=1)


async def test_a_source_overwritten_during_its_job_is_processed_in_its_new_version(
    stack: Stack, after_open: Any
) -> None:
    contents = [image_bytes(200, 300)]

    async def overwrite(name: str) -> None:
        if contents:
            await stack.upload(name, contents.pop())

    after_open(overwrite)
    await stack.upload("photos/a.jpg", image_bytes(300, 200))
    await event(stack, "photos/a.jpg")
    assert await is_up_to_date(stack, "photos/a.jpg")
    (small,) = [one for one in (await row(stack, "photos/a.jpg")).renditions if one["name"] == "small"]
    assert (small["width"], small["height"]) == (200, 300)


async def test_a_source_deleted_during_its_job_is_superseded(stack: Stack, after_open: Any) -> None:
    after_open(lambda name: blob_of(stack, name).delete_blob())
    await stack.upload("photos/a.jpg", image_bytes(300, 200))
    await event(stack, "photos/a.jpg")
    entry = await row(stack, "photos/a.jpg")
    assert (entry.state, entry.error_kind) == ("superseded", "source_gone")
    assert await stack.waiting_messages() == 0


async def test_a_source_written_between_opening_and_claim_is_not_superseded(memory: Memory) -> None:
    """The row of a queued job has the older ETag: the claim has to ask whether its own is current."""
    name = "photos/a.jpg"
    await memory.upload(name, image_bytes(300, 200))
    memory.pool.fail("POST executions", faults.FULL)
    await event(memory, name)
    await touch(memory, name, label="a")
    current, answers = Sources.is_current, [False]

    async def once_outdated(self: Sources, *place: str) -> bool:
        return answers.pop() if answers else await current(self, *place)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sources, "is_current", once_outdated)
        for message in await memory.take():
            await memory.run_queued(message)
    assert not answers
    assert await is_up_to_date(memory, name)


async def test_the_job_records_what_it_sent_to_the_session(stack: Stack) -> None:
    data = image_bytes(300, 200)
    await stack.upload("photos/a.jpg", data)
    await event(stack, "photos/a.jpg")
    facts = (await row(stack, "photos/a.jpg")).source
    assert (facts.size, facts.sha256) == (len(data), hashlib.sha256(data).hexdigest())


# -- after the job: only the ETag has changed --------------------------------------------------------------------------


async def test_a_second_event_after_a_metadata_write_adopts_the_etag(memory: Memory) -> None:
    name = "photos/a.jpg"
    await memory.upload(name, image_bytes(300, 200))
    await event(memory, name)
    before = await row(memory, name)
    await touch(memory, name, label="a")
    memory.pool.calls.clear()
    await event(memory, name)
    assert memory.pool.calls == [], "no session is used"
    assert await is_up_to_date(memory, name)
    after = await row(memory, name)
    assert (after.generation, after.renditions, after.since) == (before.generation, before.renditions, before.since)
    (listed,), _ = await memory.services.ledger.page(recipe="web")
    assert (listed.key, listed.since) == (after.key, after.since)
    assert await due(memory) == {}


async def test_a_run_adopts_the_etags_that_a_tagging_tool_has_changed(memory: Memory) -> None:
    names = [f"photos/{number}.jpg" for number in range(4)]
    for name in names:
        await memory.upload(name, image_bytes(300, 200))
        await event(memory, name)
        await touch(memory, name, label="a")
    assert await due(memory) == {"etag_changed": 4}
    memory.pool.calls.clear()
    await run_due(memory)
    assert memory.pool.calls == []
    assert all([await is_up_to_date(memory, name) for name in names])
    assert await due(memory) == {}


@pytest.mark.parametrize("by", ["event", "run"])
async def test_a_forged_content_md5_skips_nothing(memory: Memory, by: str) -> None:
    name, first = "photos/a.jpg", image_bytes(300, 200, seed=1)
    await memory.upload(name, first)
    await event(memory, name)
    declared = bytes.fromhex((await memory.services.sources.stat(INPUT, name)).content_md5)
    second = image_bytes(300, 200, seed=2)
    size = max(len(first), len(second))
    await blob_of(memory, name).upload_blob(first.ljust(size, b"\0"), overwrite=True)
    await event(memory, name)
    before = await row(memory, name)
    forged = ContentSettings(content_md5=bytearray(bytes.fromhex(before.source.content_md5)))
    await blob_of(memory, name).upload_blob(second.ljust(size, b"\0"), overwrite=True, content_settings=forged)
    assert declared
    assert await due(memory) == {"etag_changed": 1}, "size and Content-MD5 are those of the content before"
    await (event(memory, name) if by == "event" else run_due(memory))
    after = await row(memory, name)
    assert await is_up_to_date(memory, name)
    assert after.generation > before.generation
    assert after.source.sha256 != before.source.sha256
    assert [one["sha256"] for one in after.renditions] != [one["sha256"] for one in before.renditions]


async def test_a_dismissed_job_stays_dismissed_when_only_the_etag_changes(memory: Memory) -> None:
    name = "photos/a.jpg"
    await memory.upload(name, b"not an image")
    await event(memory, name)
    await memory.services.jobs.dismiss((await row(memory, name)).key)
    await touch(memory, name, label="a")
    assert await due(memory) == {"etag_changed": 1}
    await run_due(memory)
    entry = await row(memory, name)
    assert entry.state == "dismissed"
    assert await due(memory) == {}


async def test_a_failed_job_whose_source_was_touched_is_done_again(memory: Memory) -> None:
    name = "photos/a.jpg"
    await memory.upload(name, b"not an image")
    await event(memory, name)
    failed = await row(memory, name)
    await touch(memory, name, label="a")
    assert await due(memory) == {"changed": 1}
    await event(memory, name)
    assert (await row(memory, name)).generation > failed.generation


# -- metadata that the recipe uses -------------------------------------------------------------------------------------


@pytest.mark.parametrize("metadata", [{"focal": "0.1,0.5"}, {"sku": "4711"}])
@pytest.mark.parametrize("by", ["event", "run"])
async def test_changed_metadata_that_the_recipe_uses_is_a_change(metadata: dict[str, str], by: str) -> None:
    name = "photos/a.jpg"
    async with open_in_memory(FOCAL) as memory:
        await memory.upload(name, image_bytes(300, 200))
        await event(memory, name)
        before = await row(memory, name)
        await touch(memory, name, **metadata)
        assert await due(memory) == {"changed": 1}
        await (event(memory, name) if by == "event" else run_due(memory))
        assert await is_up_to_date(memory, name)
        assert (await row(memory, name)).generation > before.generation
        await touch(memory, name, **metadata, label="a")
        assert await due(memory) == {"etag_changed": 1}, "the metadata in use are the same"


async def test_a_focal_point_in_an_index_tag_is_found_by_the_next_run() -> None:
    """Setting a tag changes no ETag and raises no event."""
    name = "photos/a.jpg"
    async with open_in_memory(FOCAL) as memory:
        await memory.upload(name, image_bytes(300, 200))
        await event(memory, name)
        (before,) = (await memory.outputs()).values()
        await blob_of(memory, name).set_blob_tags({"focal": "0.1 0.5"})
        await event(memory, name)
        assert list((await memory.outputs()).values()) == [before]
        assert await due(memory) == {"changed": 1}
        await run_due(memory)
        assert list((await memory.outputs()).values()) != [before]
        assert await due(memory) == {}


@pytest.mark.parametrize("status", [403, 409])
async def test_an_account_without_tags_is_planned_without_them(status: int) -> None:
    async with open_in_memory(FOCAL) as memory:
        await memory.upload("photos/a.jpg", image_bytes(300, 200))
        memory.account.fail("blob.list", status, "FeatureNotSupportedForAccount")
        assert await due(memory) == {"new": 1}


@pytest.mark.parametrize("status", [403, 409])
async def test_a_refusal_of_tags_makes_no_source_due_and_ends(status: int) -> None:
    """A role may not be effective yet. Unknown tags do not make every source with a focal point in its tags due."""
    name, now = "photos/a.jpg", 0.0
    async with open_in_memory(FOCAL) as memory:
        memory.services.sources._clock = lambda: now
        await memory.upload(name, image_bytes(300, 200))
        await blob_of(memory, name).set_blob_tags({"focal": "0.1 0.5"})
        await event(memory, name)
        memory.account.fail("blob.list", status, "AuthorizationPermissionMismatch")
        assert await due(memory) == {}
        await blob_of(memory, name).set_blob_tags({"focal": "0.9 0.5"})
        assert await due(memory) == {}, "the tags are left out for some minutes"
        now = TAGS_REFUSED_SECONDS
        assert await due(memory) == {"changed": 1}
