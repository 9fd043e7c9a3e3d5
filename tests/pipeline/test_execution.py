"""One job from source to renditions, with real blobs, a real table and real sessions."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta
from typing import Any

import pytest

from pipeline.errors import JobSuperseded, PoolFull, PoolUnavailable, SourceError
from pipeline.storage import ClaimOptions
from pipeline.storage.keys import JobKey
from pipeline.storage.ledger import Claim, Entry, Version
from pipeline.storage.queue import Message
from pipeline.storage.rendition_mark import RenditionMark
from tests.images import detect_format, image_bytes, size
from tests.stack import Stack, open_stack


async def run(stack: Stack, name: str, recipe: str = "web", **options: Any) -> Entry:
    """Execute a job."""
    services = stack.services
    container = services.settings.input_container
    return await services.executor.execute(container, name, services.recipes.get(recipe), **options)


async def upload_source(stack: Stack, name: str, data: bytes) -> None:
    """Upload a source and handle its event."""
    await stack.upload(name, data)
    await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, name)


async def failure(stack: Stack, name: str, recipe: str = "web") -> Entry:
    """Return the row of a failed job, which has no message left."""
    entry = await stack.entry(recipe, name)
    assert entry is not None
    assert entry.state == "failed"
    assert await stack.waiting_messages() == 0, "a permanent failure is never retried"
    return entry


@pytest.mark.both
async def test_an_uploaded_image_gets_every_rendition(stack: Stack) -> None:
    await upload_source(stack, "photos/a b/ü.jpg", image_bytes(800, 600))
    outputs = await stack.outputs()
    assert {(detect_format(data), size(data)) for data in outputs.values()} == {
        ("WEBP", (200, 150)),
        ("JPEG", (64, 64)),
    }
    entry = await stack.entry("web", "photos/a b/ü.jpg")
    assert entry is not None
    assert (entry.state, entry.attempts) == ("done", 1)
    recorded = {one["path"]: (one["size"], one["sha256"]) for one in entry.renditions}
    assert recorded == {path: (len(data), hashlib.sha256(data).hexdigest()) for path, data in outputs.items()}
    assert {"upload", "execute", "download", "commit"} <= set(entry.report["ms"])
    await _check_marks(stack, entry)


async def _check_marks(stack: Stack, entry: Entry) -> None:
    """Check that each rendition of a job is marked with its job, its versions and its name."""
    source = await stack.services.sources.open(entry.container, entry.name)
    data = b"".join([chunk async for chunk in source.chunks()])
    marked, _ = await stack.services.renditions.marked()
    assert {(blob.path, blob.etag) for blob in marked} == {(one["path"], one["etag"]) for one in entry.renditions}
    records = {one["path"]: one for one in entry.renditions}
    for blob in marked:
        record = records[blob.path]
        assert blob.mark == RenditionMark(
            entry.key.id,
            entry.generation,
            recipe_version=entry.version.recipe_hash,
            source_etag=entry.version.etag,
            source_size=len(data),
            source_sha256=hashlib.sha256(data).hexdigest(),
            rendition=record["name"],
            renditions=2,
            source_format="JPEG",
            decoder_revision=entry.decoder_revision,
            format=record["format"],
            sha256=record["sha256"],
            width=record["width"],
            height=record["height"],
            deployment=stack.services.ledger.deployment,
        )


async def test_the_crop_of_the_tutorial_has_its_exact_size(stack: Stack) -> None:
    await stack.upload("a.png", image_bytes(640, 480, "PNG"))
    await run(stack, "a.png", "tutorial")
    (data,) = (await stack.outputs()).values()
    assert size(data) == (300, 300)


async def test_a_source_without_a_matching_recipe_creates_nothing(stack: Stack) -> None:
    await upload_source(stack, "elsewhere/a.jpg", image_bytes())
    assert await stack.outputs() == {}


async def test_a_duplicate_event_creates_one_job(stack: Stack) -> None:
    await stack.upload("photos/a.jpg", image_bytes())
    first = await asyncio.gather(*(run(stack, "photos/a.jpg") for _ in range(3)))
    entry = await run(stack, "photos/a.jpg")
    assert (entry.state, entry.attempts) == ("done", 1)
    assert {each.generation for each in first} == {entry.generation}


async def test_a_changed_source_is_processed_again(stack: Stack) -> None:
    generations = []
    for seed in (90, 180):
        etag = await stack.upload("photos/a.jpg", image_bytes(seed=seed))
        entry = await run(stack, "photos/a.jpg")
        assert (entry.state, entry.version.etag) == ("done", etag)
        generations.append(entry.generation)
    assert generations[1] == generations[0] + 1
    assert len(await stack.outputs()) == 2


@pytest.mark.both
async def test_a_source_overwritten_in_its_job_gets_the_newer_result(stack: Stack) -> None:
    """The older job is superseded at its commit at the latest, in either order."""
    await stack.upload("photos/a.jpg", image_bytes(400, 300))
    older = asyncio.create_task(run(stack, "photos/a.jpg"))
    etag = await stack.upload("photos/a.jpg", image_bytes(300, 400))
    newer = await run(stack, "photos/a.jpg")
    await asyncio.gather(older, return_exceptions=True)
    entry = await stack.entry("web", "photos/a.jpg")
    assert entry is not None
    assert (newer.version.etag, entry.version.etag, entry.state) == (etag, etag, "done")
    outputs = await stack.outputs()
    assert {hashlib.sha256(data).hexdigest() for data in outputs.values()} == {r["sha256"] for r in entry.renditions}
    assert (200, 267) in map(size, outputs.values())


async def test_a_deleted_source_creates_no_job(stack: Stack) -> None:
    with pytest.raises(JobSuperseded):
        await run(stack, "photos/gone.jpg")
    await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, "photos/gone.jpg")
    assert await stack.waiting_messages() == 0


@pytest.mark.both
@pytest.mark.parametrize(
    ("data", "kind", "text"),
    [
        (b"this is text, not an image\n" * 20, "not_an_image", ""),
        (image_bytes()[:5000], "damaged_image", ""),
        (b"", "empty_source", "no bytes"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "", ""),
    ],
    ids=["text named .jpg", "truncated JPEG", "0 bytes", "EPS"],
)
async def test_a_file_that_is_no_image_fails_with_a_reason(stack: Stack, data: bytes, kind: str, text: str) -> None:
    await upload_source(stack, "photos/a.jpg", data)
    entry = await failure(stack, "photos/a.jpg")
    assert kind in entry.error_kind
    assert text in entry.error_message
    assert await stack.outputs() == {}


async def test_a_crop_outside_the_image_fails_with_the_numbers(stack: Stack) -> None:
    await stack.upload("a.jpg", image_bytes(200, 200))
    entry = await run(stack, "a.jpg", "tutorial")
    assert (entry.state, entry.error_kind, entry.stage) == ("failed", "crop_outside", "execute")
    assert "200" in entry.error_message
    assert "400" in entry.error_message


async def test_a_source_over_the_byte_limit_never_reaches_a_session(environ: dict[str, str]) -> None:
    async with open_stack({**environ, "PIPELINE_MAX_SOURCE_BYTES": "1000"}) as stack:
        await upload_source(stack, "photos/a.jpg", image_bytes())
        entry = await failure(stack, "photos/a.jpg")
        assert entry.error_kind == "too_many_bytes"
        assert await stack.services.slot_documents.list_free(2) == ["slots/000.json", "slots/001.json"]


async def test_a_decompression_bomb_is_refused_before_decoding(environ: dict[str, str]) -> None:
    async with open_stack({**environ, "PIPELINE_MAX_PIXELS": "100000"}) as stack:
        await upload_source(stack, "photos/a.jpg", image_bytes(1000, 1000))
        assert (await failure(stack, "photos/a.jpg")).error_kind == "too_many_pixels"


async def test_a_failed_job_leaves_the_session_usable(stack: Stack) -> None:
    await upload_source(stack, "photos/bad.jpg", b"no image at all")
    await upload_source(stack, "photos/good.jpg", image_bytes())
    entry = await stack.entry("web", "photos/good.jpg")
    assert entry is not None
    assert entry.state == "done"


@pytest.mark.both
async def test_concurrent_uploads_are_processed_exactly_once(stack: Stack) -> None:
    names = [f"photos/{number}.jpg" for number in range(24)]
    await asyncio.gather(*(upload_source(stack, name, image_bytes(300, 200, seed=i)) for i, name in enumerate(names)))
    entries = [await stack.entry("web", name) for name in names]
    assert [(entry.state, entry.attempts) for entry in entries if entry] == [("done", 1)] * 24
    assert len(await stack.outputs()) == 48


async def test_a_full_pool_requeues_the_job_without_an_attempt(environ: dict[str, str]) -> None:
    async with open_stack({**environ, "PIPELINE_SLOT_ACQUIRE_TIMEOUT": "1.2"}) as stack:
        names = await stack.services.slot_documents.list_free(2)
        held = [await stack.services.slot_documents.acquire(name) for name in names]
        await upload_source(stack, "photos/a.jpg", image_bytes())
        assert [message.get("attempt", 0) for message in await stack.messages()] == [0]
        entry = await stack.entry("web", "photos/a.jpg")
        assert entry is not None
        assert (entry.state, entry.error_kind, entry.attempts) == ("queued", "pool_full", 0)
        with pytest.raises(PoolFull, match="slots"):
            await run(stack, "photos/a.jpg")
        for document in held:
            assert document is not None
            await document.release()
        container = stack.services.settings.input_container
        message = Message(recipe="web", container=container, name="photos/a.jpg")
        done = await stack.services.dispatcher.execute_message(message)
        assert done is not None
        assert done.state == "done"


async def test_an_unreachable_pool_is_retried_then_named(
    environ: dict[str, str],
) -> None:
    quick = {
        "PIPELINE_POOL_ENDPOINT": "http://127.0.0.1:1",
        "PIPELINE_RETRY_MAX_ATTEMPTS": "1",
    }
    async with open_stack({**environ, **quick}) as stack:
        await upload_source(stack, "photos/a.jpg", image_bytes())
        (message,) = await stack.messages()
        assert message.get("attempt", 0) == 0
        day_later = Message(**{**message, "service_seconds": stack.services.settings.give_up_after})
        await stack.services.dispatcher.execute_message(day_later)
        entry = await stack.entry("web", "photos/a.jpg")
        assert entry is not None
        assert (entry.state, entry.error_kind, entry.error_service) == ("failed", "pool_unreachable", "pool")
        assert "PIPELINE_POOL_ENDPOINT" in entry.error_message


async def test_a_final_failure_keeps_the_result_of_another_worker(stack: Stack) -> None:
    await stack.upload("photos/a.jpg", image_bytes())
    done = await run(stack, "photos/a.jpg")
    message = Message(recipe="web", container=stack.services.settings.input_container, name="photos/a.jpg", attempt=4)
    error = PoolUnavailable("no session pool answers", bounded=True)
    await stack.services.dispatcher._requeue_or_fail(message, error, 1.0)
    entry = await stack.entry("web", "photos/a.jpg")
    assert entry is not None
    assert (entry.state, entry.generation) == ("done", done.generation)


async def test_a_job_taken_over_without_notice_is_not_executed(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a storage outage longer than a claim: no heartbeat has reported that the claim is lost."""
    services, container, name = stack.services, stack.services.settings.input_container, "photos/a.jpg"
    version = Version(await stack.upload(name, image_bytes()), services.recipes.get("web").hash)
    monkeypatch.setattr(services.ledger, "_ttl", timedelta(milliseconds=1))
    monkeypatch.setattr(Claim, "heartbeat_interval", 3600)
    upload, execute, executions = services.pool.upload, services.pool.execute, []

    async def upload_and_take_over(identifier: str, file: str, *more: Any) -> None:
        await upload(identifier, file, *more)
        if not file.startswith("in-"):
            return
        claim = await services.ledger.claim(JobKey.of("web", container, name), (container, name), version, never)
        assert isinstance(claim, Claim)
        await claim.fail(SourceError("a bomb", kind="too_many_pixels"), "execute")

    async def counted(*arguments: Any) -> Any:
        executions.append(arguments)
        return await execute(*arguments)

    monkeypatch.setattr(services.pool, "upload", upload_and_take_over)
    monkeypatch.setattr(services.pool, "execute", counted)
    with pytest.raises(JobSuperseded):
        await run(stack, name)
    assert executions == []
    assert (await failure(stack, name)).error_kind == "too_many_pixels"


async def test_an_expired_claim_without_a_takeover_continues(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    await stack.upload("photos/a.jpg", image_bytes())
    monkeypatch.setattr(stack.services.ledger, "_ttl", timedelta(milliseconds=1))
    monkeypatch.setattr(Claim, "heartbeat_interval", 3600)
    entry = await run(stack, "photos/a.jpg")
    assert (entry.state, entry.attempts) == ("done", 1)


@pytest.mark.parametrize("trigger", ["event", "message"])
async def test_a_claimed_job_is_checked_again_later(stack: Stack, trigger: str) -> None:
    services = stack.services
    etag = await stack.upload("photos/a.jpg", image_bytes())
    container, recipe = services.settings.input_container, services.recipes.get("web")
    key, version = JobKey.of("web", container, "photos/a.jpg"), Version(etag, recipe.hash)
    held = await services.ledger.claim(key, (container, "photos/a.jpg"), version, never)
    assert isinstance(held, Claim)
    if trigger == "event":
        await services.dispatcher.handle_blob(container, "photos/a.jpg")
    else:
        message = Message(recipe="web", container=container, name="photos/a.jpg")
        await services.dispatcher.handle_message(message.model_dump_json().encode())
    assert (await stack.waiting_messages(), await stack.messages()) == (1, [])


async def never() -> bool:
    """Fail the test: no claim needs a check of the source."""
    raise AssertionError("the source is checked although no other job has ended")


async def test_a_job_waits_for_a_missing_output_container(stack: Stack) -> None:
    await stack.services.account.container(stack.services.settings.output_container).delete_container()
    await upload_source(stack, "photos/a.jpg", image_bytes())
    entry = await stack.entry("web", "photos/a.jpg")
    assert entry is not None
    assert (entry.state, entry.error_kind, entry.attempts) == ("queued", "storage_not_found", 0)
    assert stack.services.settings.output_container in entry.error_message


async def test_a_rendition_copied_to_the_input_is_refused(stack: Stack) -> None:
    """Second guard against loops: a rendition is copied together with its metadata."""
    container = stack.services.account.container(stack.services.settings.input_container)
    await container.upload_blob("photos/a.jpg", image_bytes(), metadata={"pipeline_job": "web.abc"})
    await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, "photos/a.jpg")
    assert (await failure(stack, "photos/a.jpg")).error_kind == "own_rendition"


@pytest.mark.both
async def test_a_path_of_another_owner_is_left_alone(stack: Stack) -> None:
    await stack.upload("photos/a.jpg", image_bytes())
    entry = await run(stack, "photos/a.jpg")
    path = entry.renditions[0]["path"]
    container = stack.services.account.container(stack.services.settings.output_container)
    await container.upload_blob(path, b"the only copy", overwrite=True)
    entry = await run(stack, "photos/a.jpg", options=ClaimOptions(again=True))
    assert (entry.state, entry.error_kind, entry.stage) == ("failed", "output_conflict", "commit")
    assert (await stack.outputs())[path] == b"the only copy"
