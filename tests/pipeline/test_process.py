"""One job from source to renditions, through real blobs, a real table and real sessions."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta
from typing import Any

import pytest

from pipeline.errors import JobSuperseded, PoolFull, PoolUnavailable, SourceError
from pipeline.storage.keys import JobKey
from pipeline.storage.ledger import Claim, Entry, Version
from pipeline.storage.queue import Message
from tests.images import form, picture, sides
from tests.stack import Stack, opened


async def run(stack: Stack, name: str, recipe: str = "web", **options: Any) -> Entry:
    services = stack.services
    container = services.settings.input_container
    return await services.executor.execute(container, name, services.recipes.get(recipe), **options)


async def dropped(stack: Stack, name: str, data: bytes) -> None:
    await stack.drop(name, data)
    await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, name)


async def failure(stack: Stack, name: str, recipe: str = "web") -> Entry:
    entry = await stack.entry(recipe, name)
    assert entry is not None
    assert entry.state == "failed"
    assert await stack.waiting() == 0, "a permanent failure is never retried"
    return entry


async def test_a_dropped_photo_comes_out_in_every_rendition(stack: Stack) -> None:
    await dropped(stack, "photos/a b/ü.jpg", picture(800, 600))
    outputs = await stack.outputs()
    assert {(form(data), sides(data)) for data in outputs.values()} == {("WEBP", (200, 150)), ("JPEG", (64, 64))}
    entry = await stack.entry("web", "photos/a b/ü.jpg")
    assert entry is not None
    assert (entry.state, entry.attempts) == ("done", 1)
    recorded = {one["path"]: (one["size"], one["sha256"]) for one in entry.renditions}
    assert recorded == {path: (len(data), hashlib.sha256(data).hexdigest()) for path, data in outputs.items()}
    assert {"upload", "execute", "download", "commit"} <= set(entry.report["ms"])


async def test_the_tutorials_crop_gives_exactly_that_box(stack: Stack) -> None:
    await stack.drop("a.png", picture(640, 480, "PNG"))
    await run(stack, "a.png", "tutorial")
    (data,) = (await stack.outputs()).values()
    assert sides(data) == (300, 300)


async def test_a_source_that_no_recipe_matches_costs_nothing(stack: Stack) -> None:
    await dropped(stack, "elsewhere/a.jpg", picture())
    assert await stack.outputs() == {}


async def test_the_same_event_twice_makes_one_job(stack: Stack) -> None:
    await stack.drop("photos/a.jpg", picture())
    first = await asyncio.gather(*(run(stack, "photos/a.jpg") for _ in range(3)))
    entry = await run(stack, "photos/a.jpg")
    assert (entry.state, entry.attempts) == ("done", 1)
    assert {each.generation for each in first} == {entry.generation}


async def test_a_changed_source_is_done_again(stack: Stack) -> None:
    generations = []
    for seed in (90, 180):
        etag = await stack.drop("photos/a.jpg", picture(seed=seed))
        entry = await run(stack, "photos/a.jpg")
        assert (entry.state, entry.version.etag) == ("done", etag)
        generations.append(entry.generation)
    assert generations[1] == generations[0] + 1
    assert len(await stack.outputs()) == 2


async def test_a_source_overwritten_in_mid_job_leaves_only_the_newer_result(stack: Stack) -> None:
    """The older job finds out at the latest when it commits, whoever is first."""
    await stack.drop("photos/a.jpg", picture(400, 300))
    older = asyncio.create_task(run(stack, "photos/a.jpg"))
    etag = await stack.drop("photos/a.jpg", picture(300, 400))
    newer = await run(stack, "photos/a.jpg")
    await asyncio.gather(older, return_exceptions=True)
    entry = await stack.entry("web", "photos/a.jpg")
    assert entry is not None
    assert (newer.version.etag, entry.version.etag, entry.state) == (etag, etag, "done")
    outputs = await stack.outputs()
    assert {hashlib.sha256(data).hexdigest() for data in outputs.values()} == {r["sha256"] for r in entry.renditions}
    assert (200, 267) in map(sides, outputs.values())


async def test_a_deleted_source_is_nothing_to_do(stack: Stack) -> None:
    with pytest.raises(JobSuperseded):
        await run(stack, "photos/gone.jpg")
    await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, "photos/gone.jpg")
    assert await stack.waiting() == 0


@pytest.mark.parametrize(
    ("data", "kind", "says"),
    [
        (b"this is text, not a photo\n" * 20, "not_an_image", ""),
        (picture()[:5000], "damaged_image", ""),
        (b"", "empty_source", "no bytes"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "", ""),
    ],
    ids=["text named .jpg", "truncated JPEG", "0 bytes", "EPS"],
)
async def test_what_is_not_an_image_is_a_failure_with_its_reason(
    stack: Stack, data: bytes, kind: str, says: str
) -> None:
    await dropped(stack, "photos/a.jpg", data)
    entry = await failure(stack, "photos/a.jpg")
    assert kind in entry.error_kind
    assert says in entry.error_message
    assert await stack.outputs() == {}


async def test_a_crop_outside_the_image_is_a_failure_that_names_the_numbers(stack: Stack) -> None:
    await stack.drop("a.jpg", picture(200, 200))
    entry = await run(stack, "a.jpg", "tutorial")
    assert (entry.state, entry.error_kind, entry.stage) == ("failed", "crop_outside", "execute")
    assert "200" in entry.error_message
    assert "400" in entry.error_message


async def test_a_source_over_the_limit_of_bytes_never_reaches_a_session(environ: dict[str, str]) -> None:
    async with opened({**environ, "PIPELINE_MAX_SOURCE_BYTES": "1000"}) as stack:
        await dropped(stack, "photos/a.jpg", picture())
        entry = await failure(stack, "photos/a.jpg")
        assert entry.error_kind == "too_many_bytes"
        assert await stack.services.slot_documents.list_free(2) == ["slots/000.json", "slots/001.json"]


async def test_a_bomb_is_refused_before_it_is_decoded(environ: dict[str, str]) -> None:
    async with opened({**environ, "PIPELINE_MAX_PIXELS": "100000"}) as stack:
        await dropped(stack, "photos/a.jpg", picture(1000, 1000))
        assert (await failure(stack, "photos/a.jpg")).error_kind == "too_many_pixels"


async def test_a_failed_job_leaves_the_session_fit_for_the_next(stack: Stack) -> None:
    await dropped(stack, "photos/bad.jpg", b"no image at all")
    await dropped(stack, "photos/good.jpg", picture())
    entry = await stack.entry("web", "photos/good.jpg")
    assert entry is not None
    assert entry.state == "done"


async def test_many_photos_at_once_are_all_done_exactly_once(stack: Stack) -> None:
    names = [f"photos/{number}.jpg" for number in range(24)]
    await asyncio.gather(*(dropped(stack, name, picture(300, 200, seed=i)) for i, name in enumerate(names)))
    entries = [await stack.entry("web", name) for name in names]
    assert [(entry.state, entry.attempts) for entry in entries if entry] == [("done", 1)] * 24
    assert len(await stack.outputs()) == 48


async def test_a_full_pool_sends_the_job_to_the_queue_without_counting_a_try(environ: dict[str, str]) -> None:
    async with opened({**environ, "PIPELINE_SLOT_ACQUIRE_TIMEOUT": "1.2"}) as stack:
        names = await stack.services.slot_documents.list_free(2)
        held = [await stack.services.slot_documents.acquire(name) for name in names]
        await dropped(stack, "photos/a.jpg", picture())
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


async def test_a_pool_that_is_not_there_is_tried_a_few_times_and_then_a_failure_that_says_so(
    environ: dict[str, str],
) -> None:
    quick = {
        "PIPELINE_POOL_ENDPOINT": "http://127.0.0.1:1",
        "PIPELINE_MAX_ATTEMPTS": "2",
        "PIPELINE_RETRY_MAX_ATTEMPTS": "1",
    }
    async with opened({**environ, **quick}) as stack:
        await dropped(stack, "photos/a.jpg", picture())
        (message,) = await stack.messages()
        assert message["attempt"] == 1
        await stack.services.dispatcher.execute_message(Message(**message))
        entry = await stack.entry("web", "photos/a.jpg")
        assert entry is not None
        assert (entry.state, entry.error_kind) == ("failed", "pool_unreachable")
        assert "PIPELINE_POOL_ENDPOINT" in entry.error_message


async def test_giving_up_leaves_what_another_process_has_done_meanwhile(stack: Stack) -> None:
    await stack.drop("photos/a.jpg", picture())
    done = await run(stack, "photos/a.jpg")
    message = Message(recipe="web", container=stack.services.settings.input_container, name="photos/a.jpg", attempt=4)
    await stack.services.dispatcher._requeue_or_fail(message, PoolUnavailable("no session pool answers"))
    entry = await stack.entry("web", "photos/a.jpg")
    assert entry is not None
    assert (entry.state, entry.generation) == ("done", done.generation)


async def test_a_job_that_another_took_over_unnoticed_and_ended_is_not_run(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when storage does not answer for longer than a claim lasts: no renewal has said that it is lost."""
    services, container, name = stack.services, stack.services.settings.input_container, "photos/a.jpg"
    version = Version(await stack.drop(name, picture()), services.recipes.get("web").hash)
    monkeypatch.setattr(services.ledger, "_ttl", timedelta(milliseconds=1))
    monkeypatch.setattr(Claim, "heartbeat_interval", 3600)
    put, run_in_session, runs = services.pool.upload, services.pool.execute, []

    async def superseded(identifier: str, file: str, *more: Any) -> None:
        await put(identifier, file, *more)
        if not file.startswith("in-"):
            return
        claim = await services.ledger.claim(JobKey.of("web", container, name), (container, name), version, never)
        assert isinstance(claim, Claim)
        await claim.fail(SourceError("a bomb", kind="too_many_pixels"), "run")

    async def noted(*arguments: Any) -> Any:
        runs.append(arguments)
        return await run_in_session(*arguments)

    monkeypatch.setattr(services.pool, "upload", superseded)
    monkeypatch.setattr(services.pool, "execute", noted)
    with pytest.raises(JobSuperseded):
        await run(stack, name)
    assert runs == []
    assert (await failure(stack, name)).error_kind == "too_many_pixels"


async def test_a_job_whose_claim_ran_out_and_that_nobody_took_over_goes_on(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stack.drop("photos/a.jpg", picture())
    monkeypatch.setattr(stack.services.ledger, "_ttl", timedelta(milliseconds=1))
    monkeypatch.setattr(Claim, "heartbeat_interval", 3600)
    entry = await run(stack, "photos/a.jpg")
    assert (entry.state, entry.attempts) == ("done", 1)


@pytest.mark.parametrize("way", ["event", "message"])
async def test_a_delivery_of_a_job_that_another_process_is_on_looks_again_later(stack: Stack, way: str) -> None:
    services = stack.services
    etag = await stack.drop("photos/a.jpg", picture())
    container, recipe = services.settings.input_container, services.recipes.get("web")
    key, version = JobKey.of("web", container, "photos/a.jpg"), Version(etag, recipe.hash)
    held = await services.ledger.claim(key, (container, "photos/a.jpg"), version, never)
    assert isinstance(held, Claim)
    if way == "event":
        await services.dispatcher.handle_blob(container, "photos/a.jpg")
    else:
        message = Message(recipe="web", container=container, name="photos/a.jpg")
        await services.dispatcher.handle_message(message.model_dump_json().encode())
    assert (await stack.waiting(), await stack.messages()) == (1, [])


async def never() -> bool:
    raise AssertionError("nothing has to be confirmed")


async def test_a_missing_output_container_is_a_failure_that_names_it(stack: Stack) -> None:
    await stack.services.account.container(stack.services.settings.output_container).delete_container()
    await dropped(stack, "photos/a.jpg", picture())
    entry = await failure(stack, "photos/a.jpg")
    assert entry.error_kind == "configuration"
    assert stack.services.settings.output_container in entry.error_message


async def test_a_rendition_that_comes_back_as_a_source_is_not_transformed_again(stack: Stack) -> None:
    """The second guard against loops, should a rendition be copied, its metadata and all."""
    container = stack.services.account.container(stack.services.settings.input_container)
    await container.upload_blob("photos/a.jpg", picture(), metadata={"pipeline_job": "web.abc"})
    await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, "photos/a.jpg")
    assert (await failure(stack, "photos/a.jpg")).error_kind == "own_rendition"


async def test_a_path_that_belongs_to_something_else_is_left_alone(stack: Stack) -> None:
    await stack.drop("photos/a.jpg", picture())
    entry = await run(stack, "photos/a.jpg")
    path = entry.renditions[0]["path"]
    container = stack.services.account.container(stack.services.settings.output_container)
    await container.upload_blob(path, b"the only copy", overwrite=True)
    entry = await run(stack, "photos/a.jpg", again=True)
    assert (entry.state, entry.error_kind, entry.stage) == ("failed", "output_conflict", "commit")
    assert (await stack.outputs())[path] == b"the only copy"
