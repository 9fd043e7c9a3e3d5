"""Unusual sources: each gets its renditions, or a failure with its reason, and delays no other source."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError
from azure.storage.blob import ContentSettings
from azure.storage.blob.aio import BlobClient, ContainerClient

from pipeline import runs
from pipeline.errors import PermanentError, StorageUnavailable
from pipeline.runs.model import Progress
from pipeline.storage.account import create_all
from pipeline.storage.keys import JobKey
from pipeline.storage.ledger import Entry
from pipeline.storage.queue import Message
from tests.images import image_bytes
from tests.stack import RECIPES, Stack, open_stack


async def handle_event(stack: Stack, name: str = "photos/a.jpg") -> Entry:
    """Handle the event of a source; return the row of its job."""
    await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, name)
    entry = await stack.entry("web", name)
    assert entry is not None
    return entry


def source(stack: Stack, name: str = "photos/a.jpg") -> BlobClient:
    """Return the client of a source."""
    return stack.services.account.container(stack.services.settings.input_container).get_blob_client(name)


@pytest.mark.stack
async def test_an_archived_source_fails_at_once_with_a_reason(stack: Stack) -> None:
    await stack.upload("photos/a.jpg", image_bytes(60, 40))
    await source(stack).set_standard_blob_tier("Archive")
    entry = await handle_event(stack)
    assert (entry.state, entry.error_kind, entry.attempts) == ("failed", "archived", 1)
    assert await stack.waiting_messages() == 0


@pytest.mark.stack
async def test_an_archived_source_does_not_block_a_run(stack: Stack) -> None:
    for number in range(3):
        await stack.upload(f"photos/{number}.jpg", image_bytes(60, 40))
    await source(stack, "photos/1.jpg").set_standard_blob_tier("Archive")
    run = await stack.services.runs.start(runs.Selection(recipes=("web",)), expected_count=3)
    await stack.process_messages()
    seen = await stack.services.runs.get(run.id)
    assert (seen.state, seen.progress) == ("done", Progress(done=2, failed=1))


@pytest.mark.both
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
async def test_a_wrong_content_encoding_is_ignored(stack: Stack, encoding: str) -> None:
    await source(stack).upload_blob(image_bytes(60, 40), content_settings=ContentSettings(content_encoding=encoding))
    assert (await handle_event(stack)).state == "done"


@pytest.mark.both
async def test_a_compressed_source_is_refused_as_such(stack: Stack) -> None:
    await source(stack).upload_blob(
        gzip.compress(image_bytes(60, 40)), content_settings=ContentSettings(content_encoding="gzip")
    )
    entry = await handle_event(stack)
    assert (entry.state, entry.error_kind) == ("failed", "unsupported_variant")
    assert "compressed with gzip: upload the image itself" in entry.error_message


@pytest.mark.both
@pytest.mark.parametrize("name", ["photos/2026", "photos/2026/", "photos/sea.jpg"])
async def test_a_folder_marker_is_ignored(stack: Stack, name: str) -> None:
    marks = {} if name.endswith("/") else {"Hdi_IsFolder": "true"}
    await source(stack, name).upload_blob(b"", metadata=marks)
    await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, name)
    assert await stack.entry("web", name) is None
    plan = await stack.services.planner.plan(runs.Selection(recipes=("web",)))
    assert (plan.sources, plan.jobs) == (0, 0)
    assert await stack.waiting_messages() == 0


async def test_an_empty_file_is_no_folder_marker(stack: Stack) -> None:
    await source(stack).upload_blob(b"", metadata={"hdi_isfolder": "false"})
    assert (await handle_event(stack)).error_kind == "empty_source"
    assert (await stack.services.planner.plan(runs.Selection(recipes=("web",), reasons=("failed",)))).jobs == 1


@pytest.mark.parametrize("name", ["../{}/a.jpg", "a/../../{}/a.jpg", "photos/./a.jpg", "..", "a\\..\\a.jpg"])
@pytest.mark.stack
async def test_a_name_with_dot_segments_is_refused(stack: Stack, name: str) -> None:
    """The blob in the other container exists, and this process may read it."""
    services, elsewhere = stack.services, stack.services.settings.output_container
    await services.account.container(elsewhere).upload_blob("a.jpg", image_bytes(60, 40))
    await stack.upload("photos/a.jpg", image_bytes(60, 40))
    container, name = services.settings.input_container, name.format(elsewhere)
    for read in (services.sources.open, services.sources.stat):
        with pytest.raises(PermanentError) as caught:
            await read(container, name)
        assert caught.value.kind == "bad_name"
    body = json.dumps({"recipe": "web", "container": container, "name": name}).encode()
    await services.dead_letters.handle_job_message(body)
    (entry,) = (await services.ledger.page(state="failed"))[0]
    assert entry.error_kind == "bad_name"


@pytest.mark.stack
async def test_unavailable_tags_are_a_transient_error(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    await stack.upload("photos/a.jpg", image_bytes(60, 40))
    found = await stack.services.sources.open(stack.services.settings.input_container, "photos/a.jpg")
    for status, tags in ((503, None), (409, {})):
        monkeypatch.setattr(BlobClient, "get_blob_tags", _refused(HttpResponseError, status, "Whatever"))
        if tags is None:
            with pytest.raises(StorageUnavailable):
                await found.tags()
        else:
            assert await found.tags() == tags, "an account without index tags"


@pytest.mark.stack
async def test_a_container_being_deleted_counts_as_unavailable(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    services, conflict = stack.services, _refused(ResourceExistsError, 409, "ContainerBeingDeleted")
    monkeypatch.setattr(BlobClient, "upload_blob", conflict)
    with pytest.raises(StorageUnavailable):
        await services.sources.put(services.settings.upload_container, "a.jpg", image_bytes(60, 40), "image/jpeg")
    monkeypatch.setattr(ContainerClient, "create_container", conflict)
    with pytest.raises(StorageUnavailable):
        await create_all(services.account, services.settings)


@pytest.mark.stack
async def test_a_rendition_that_another_program_leases_has_its_own_reason(stack: Stack) -> None:
    services, output = stack.services, stack.services.settings.output_container
    await stack.upload("photos/a.jpg", image_bytes(60, 40))
    first = await handle_event(stack)
    blob = services.account.container(output).get_blob_client(first.renditions[0]["path"])
    lease = await blob.acquire_lease(60)
    await stack.upload("photos/a.jpg", image_bytes(60, 40, seed=90))
    entry = await handle_event(stack)
    assert (entry.state, entry.error_kind) == ("queued", "blob_leased")
    assert first.renditions[0]["path"] in entry.error_message
    await lease.release()
    (message,) = await stack.messages()
    await services.dispatcher.execute_message(Message(**message))
    done = await stack.entry("web", "photos/a.jpg")
    assert done is not None
    assert done.state == "done"


@pytest.mark.stack
async def test_an_immutable_rendition_fails_at_once(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    await stack.upload("photos/a.jpg", image_bytes(60, 40))
    upload, refused = BlobClient.upload_blob, _refused(ResourceExistsError, 409, "BlobImmutableDueToPolicy")

    async def protected(blob: BlobClient, *arguments: Any, **options: Any) -> Any:
        mine = blob.container_name != stack.services.settings.output_container
        return await (upload if mine else refused)(blob, *arguments, **options)

    monkeypatch.setattr(BlobClient, "upload_blob", protected)
    entry = await handle_event(stack)
    assert (entry.state, entry.error_kind, entry.attempts) == ("failed", "immutable", 1)


async def test_too_many_renditions_for_a_row_fail_before_any_commit(environ: dict[str, str], recipe_file: Path) -> None:
    one = "width-{:04d}: {{format: jpeg, transforms: [{{resize: {{width: 8}}}}]}}"
    many = ", ".join(map(one.format, range(50)))
    recipe_file.write_text(f'recipes:\n  web:\n    match: {{include: ["photos/**"]}}\n    renditions: {{{many}}}\n')
    async with open_stack({**environ, "PIPELINE_MAX_RENDITIONS": "100"}) as stack:
        name = "photos/" + "customer-images-2026/" * 22 + "a.jpg"
        await stack.upload(name, image_bytes(64, 48))
        entry = await handle_event(stack, name)
        assert (entry.state, entry.error_kind) == ("failed", "too_many_renditions")
        assert await stack.outputs() == {}


async def test_a_new_ledger_replaces_renditions_of_a_lost_one(environ: dict[str, str]) -> None:
    async with open_stack(environ) as stack:
        for seed in (1, 2, 3):
            await stack.upload("photos/a.jpg", image_bytes(60, 40, seed=seed))
            await handle_event(stack)
        before = await stack.outputs()
        async with open_stack({**environ, "PIPELINE_LEDGER_TABLE": environ["PIPELINE_LEDGER_TABLE"] + "b"}) as other:
            await other.upload("photos/a.jpg", image_bytes(60, 40, seed=90))
            assert (await handle_event(other)).state == "done"
            after = await other.outputs()
        assert after.keys() == before.keys()
        assert not set(after.values()) & set(before.values())


async def test_a_job_survives_an_outage_longer_than_its_attempts(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    services = stack.services
    await services.sources.put(services.settings.upload_container, "u.jpg", image_bytes(60, 40), "image/jpeg")
    message = Message(recipe="tutorial", container=services.settings.upload_container, name="u.jpg", attempt=4)
    key = await services.jobs.submit(message)
    await stack.messages()

    async def down(*_: Any, **__: Any) -> None:
        raise StorageUnavailable("the ledger does not respond")

    with monkeypatch.context() as outage:
        outage.setattr(services.ledger, "claim", down)
        waited = await stack.waiting_messages()
        assert await services.dispatcher.execute_message(message) is None
        assert await stack.waiting_messages() == waited + 1, "the job stays queued"
        queue = services.account.queue(services.settings.job_poison_queue)
        await queue.create_queue()
        await services.dead_letters.handle_job_message(message.model_dump_json().encode())
        assert (await queue.get_queue_properties()).approximate_message_count == 1
    await services.dispatcher.execute_message(message)
    assert (await services.jobs.get(key)).state == "failed", "the crop lies outside this small image"


async def test_an_unknown_recipe_is_retried_then_fails(environ: dict[str, str], recipe_file: Path) -> None:
    async with open_stack(environ) as old:
        await old.upload("photos/a.jpg", image_bytes(600, 600))
        recipe_file.write_text(RECIPES.replace("  tutorial:", "  fresh:"))
        async with open_stack(environ) as new:
            container = new.services.settings.input_container
            key = await new.services.jobs.submit(Message(recipe="fresh", container=container, name="photos/a.jpg"))
            (first,) = await old.messages()
            await old.services.dispatcher.execute_message(Message(**first))
            assert await old.waiting_messages() == 2
            message = Message(**{**first, "attempt": old.services.settings.max_attempts - 1})
            await old.services.dispatcher.execute_message(message)
            entry = await new.services.jobs.get(key)
            assert (entry.state, entry.error_kind) == ("failed", "unknown_recipe")
            await new.services.jobs.retry(key)
            again = message.model_copy(update={"again": True, "seen": entry.generation})
            await new.services.dispatcher.execute_message(again)
            assert (await new.services.jobs.get(key)).state == "done"


async def test_a_dead_letter_without_a_source_records_nothing(environ: dict[str, str], recipe_file: Path) -> None:
    recipe_file.write_text(RECIPES.replace('include: ["photos/**"]', 'include: ["photos/**"], size: {min: 1}'))
    async with open_stack(environ) as stack:
        mine = stack.services.settings.input_container
        for container in (mine, "other"):
            blob = {"ContainerName": container, "BlobName": "photos/gone.jpg"}
            await stack.services.dead_letters.handle_blob_message(json.dumps(blob).encode())
        assert (await stack.services.ledger.page())[0] == []
        assert await stack.services.ledger.get(JobKey.of("web", mine, "photos/gone.jpg")) is None


def _refused(kind: type[HttpResponseError], status: int, code: str) -> Any:
    """Return a double of a call of the SDK that storage rejects."""

    async def call(*_: Any, **__: Any) -> None:
        error = kind(code)
        error.status_code, error.error_code = status, code  # type: ignore[attr-defined]
        raise error

    return call
