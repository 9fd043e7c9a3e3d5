"""A request that is sent again with its key leads to the job that it began."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pipeline.api.idempotency import IdempotencyKeys
from pipeline.errors import StorageUnavailable
from pipeline.storage.queue import JobQueue
from pipeline.storage.run_store import RunStore
from tests.api.calling import call
from tests.images import picture
from tests.stack import Stack, opened

JOBS = "/api/jobs"
IMAGE = "/api/jobs?recipe=tutorial&name=a.png"
PNG = "image/png"


async def count_uploads(stack: Stack) -> int:
    container = stack.services.account.container(stack.services.settings.upload_container)
    return len([blob async for blob in container.list_blobs()])


async def test_the_same_image_with_the_same_key_is_one_job(stack: Stack) -> None:
    image = picture(640, 480, "PNG")
    answers = [await call(stack, "POST", IMAGE, image, content_type=PNG, idempotency_key="k 1") for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200]
    first, second = (answer.json() for answer in answers)
    assert first == second
    assert (await count_uploads(stack), len(await stack.outputs())) == (1, 1)
    other = await call(stack, "POST", IMAGE, image, content_type=PNG, idempotency_key="k 2")
    assert other.json()["id"] != first["id"]


async def test_requests_at_the_same_time_with_one_key_are_one_job(stack: Stack) -> None:
    image = picture(640, 480, "PNG")
    asked = (call(stack, "POST", IMAGE, image, content_type=PNG, idempotency_key="k") for _ in range(4))
    answers = await asyncio.gather(*asked)
    assert {answer.json()["id"] for answer in answers} == {answers[0].json()["id"]}
    assert {answer.status for answer in answers} <= {200, 202}
    assert await count_uploads(stack) == 1


@pytest.mark.parametrize("field", ["source", "recipe", "image"])
async def test_the_same_key_with_another_request_is_refused(stack: Stack, field: str) -> None:
    for name in ("a.jpg", "b.jpg"):
        await stack.drop(name, picture())
    asked = {"source": "a.jpg", "recipe": "web"}
    later = {"prefer": "respond-async", "idempotency_key": "k"}
    assert (await call(stack, "POST", JOBS, asked, **later)).status == 202
    if field == "image":
        answer = await call(stack, "POST", IMAGE, picture(), content_type=PNG, **later)
    else:
        changed = {**asked, field: {"source": "b.jpg", "recipe": "tutorial"}[field]}
        answer = await call(stack, "POST", JOBS, changed, **later)
    assert (answer.status, answer.problem) == (422, "key_reused")
    assert await stack.waiting() == 1


async def test_a_request_that_was_refused_leaves_its_key_unused(stack: Stack) -> None:
    asked = {"source": "a.jpg", "recipe": "web"}
    assert (await call(stack, "POST", JOBS, asked, idempotency_key="k")).status == 404
    await stack.drop("b.jpg", picture())
    assert (await call(stack, "POST", JOBS, {**asked, "source": "b.jpg"}, idempotency_key="k")).status == 200


async def test_a_finished_job_is_answered_as_it_is_though_its_source_has_changed(stack: Stack) -> None:
    asked = {"source": "a.jpg", "recipe": "web"}
    etag = await stack.drop("a.jpg", picture())
    await call(stack, "POST", JOBS, asked, idempotency_key="k")
    await stack.drop("a.jpg", picture(seed=90))
    again = (await call(stack, "POST", JOBS, asked, idempotency_key="k")).json()
    assert again["source"]["etag"] == etag
    assert (await call(stack, "POST", JOBS, asked)).json()["source"]["etag"] != etag


async def expired_keys(stack: Stack) -> int:
    """Delete the expired keys; return their number."""
    services = stack.services
    return await IdempotencyKeys(services.idempotency, services.settings.idempotency_ttl_hours).delete_expired()


async def test_a_key_expires_and_is_swept(environ: dict[str, str]) -> None:
    async with opened(environ) as stack:
        for name in ("a.jpg", "b.jpg"):
            await stack.drop(name, picture())
        asked = {"prefer": "respond-async", "idempotency_key": "k"}
        assert (await call(stack, "POST", JOBS, {"source": "a.jpg", "recipe": "web"}, **asked)).status == 202
        assert await expired_keys(stack) == 0
        object.__setattr__(stack.services.settings, "idempotency_ttl_hours", 0)
        other = await call(stack, "POST", JOBS, {"source": "b.jpg", "recipe": "web"}, **asked)
        assert other.status == 202, "the key has expired and is free"
        assert await expired_keys(stack) == 1


async def runs_of(stack: Stack) -> list[str]:
    return [run["id"] for run in (await call(stack, "GET", "/api/runs")).json()["runs"]]


@pytest.mark.parametrize("planned", [True, False])
async def test_the_same_run_with_the_same_key_is_begun_once(stack: Stack, planned: bool) -> None:
    await stack.drop("photos/a.jpg", picture())
    asked: dict[str, Any] = {"selection": {"prefix": "photos/"}, "expected_count": 1}
    if planned:
        asked = {"plan": (await call(stack, "POST", "/api/runs/plan", {"selection": asked["selection"]})).json()["id"]}
    answers = [await call(stack, "POST", "/api/runs", asked, idempotency_key="k") for _ in range(2)]
    assert [answer.status for answer in answers] == [201, 200]
    assert len({answer.headers["Location"] for answer in answers}) == 1
    await stack.work_off()
    later = await call(stack, "POST", "/api/runs", asked, idempotency_key="k")
    assert (later.status, later.json()["state"], later.json()["progress"]["done"]) == (200, "done", 1)
    assert await runs_of(stack) == [later.json()["id"]]
    other = await call(stack, "POST", "/api/runs", asked, idempotency_key="k2")
    assert (other.status, other.json()["id"] == later.json()["id"]) == (201, False)


async def test_runs_asked_for_at_the_same_time_with_one_key_are_one(stack: Stack) -> None:
    asked = {"selection": {"prefix": "photos/"}, "expected_count": 1}
    answers = await asyncio.gather(*(call(stack, "POST", "/api/runs", asked, idempotency_key="k") for _ in range(4)))
    assert {answer.status for answer in answers} <= {200, 201}
    assert await runs_of(stack) == [answers[0].json()["id"]]


async def test_a_run_whose_begin_was_cut_off_begins_when_it_is_asked_for_again(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its document was written, and before its first message was sent."""
    await stack.drop("photos/a.jpg", picture())
    asked = {"selection": {"prefix": "photos/"}, "expected_count": 1}
    for owner, name in ((RunStore, "create"), (JobQueue, "send")):
        with monkeypatch.context() as broken:
            broken.setattr(owner, name, _cut_off)
            assert (await call(stack, "POST", "/api/runs", asked, idempotency_key="k")).status == 503
    answer = await call(stack, "POST", "/api/runs", asked, idempotency_key="k")
    await stack.work_off()
    run = (await call(stack, "GET", answer.json()["href"])).json()
    assert (run["state"], run["progress"]["done"], await runs_of(stack)) == ("done", 1, [run["id"]])


async def _cut_off(*_: object, **__: object) -> None:
    raise StorageUnavailable("cut off")


async def test_a_key_of_a_run_is_for_that_run_alone(stack: Stack) -> None:
    await stack.drop("photos/a.jpg", picture())
    asked: dict[str, Any] = {"selection": {"prefix": "photos/"}, "expected_count": 1_000_000}
    assert (await call(stack, "POST", "/api/runs", asked, idempotency_key="k")).problem == "over_cap"
    asked["expected_count"] = 1
    assert (await call(stack, "POST", "/api/runs", asked, idempotency_key="k")).status == 201, "refused is unused"
    other = await call(stack, "POST", "/api/runs", {**asked, "expected_count": 2}, idempotency_key="k")
    assert (other.status, other.problem) == (422, "key_reused")
    job = await call(stack, "POST", JOBS, {"source": "photos/a.jpg", "recipe": "web"}, idempotency_key="k")
    assert (job.status, job.problem) == (422, "key_reused")
