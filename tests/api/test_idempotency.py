"""Idempotency keys: a repeated request returns the job or run that the first one started."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from pipeline.errors import StorageUnavailable
from pipeline.runs.retention_tasks import DocumentRetention
from pipeline.storage.queue import JobQueue
from pipeline.storage.run_store import RunStore
from tests.api.client import call
from tests.api.conftest import Backend
from tests.images import image_bytes
from tests.stack import Stack

JOBS = "/api/jobs"
IMAGE = "/api/jobs?recipe=tutorial&name=a.png"
PNG = "image/png"


async def count_uploads(app: Stack) -> int:
    container = app.services.account.container(app.services.settings.upload_container)
    return len([blob async for blob in container.list_blobs()])


async def test_same_image_with_same_key_is_one_job(app: Stack) -> None:
    image = image_bytes(640, 480, "PNG")
    responses = [await call(app, "POST", IMAGE, image, content_type=PNG, idempotency_key="k 1") for _ in range(2)]
    assert [response.status for response in responses] == [200, 200]
    first, second = (response.json() for response in responses)
    assert first == second
    assert (await count_uploads(app), len(await app.outputs())) == (1, 1)
    other = await call(app, "POST", IMAGE, image, content_type=PNG, idempotency_key="k 2")
    assert other.json()["id"] != first["id"]


@pytest.mark.both
async def test_concurrent_requests_with_one_key_are_one_job(app: Stack) -> None:
    image = image_bytes(640, 480, "PNG")
    payload = (call(app, "POST", IMAGE, image, content_type=PNG, idempotency_key="k") for _ in range(4))
    responses = await asyncio.gather(*payload)
    assert {response.json()["id"] for response in responses} == {responses[0].json()["id"]}
    assert {response.status for response in responses} <= {200, 202}
    assert await count_uploads(app) == 1


@pytest.mark.parametrize("field", ["source", "recipe", "image"])
async def test_a_key_with_another_request_is_rejected(app: Stack, field: str) -> None:
    for name in ("a.jpg", "b.jpg"):
        await app.upload(name, image_bytes())
    payload = {"source": "a.jpg", "recipe": "web"}
    later = {"prefer": "respond-async", "idempotency_key": "k"}
    assert (await call(app, "POST", JOBS, payload, **later)).status == 202
    if field == "image":
        response = await call(app, "POST", IMAGE, image_bytes(), content_type=PNG, **later)
    else:
        changed = {**payload, field: {"source": "b.jpg", "recipe": "tutorial"}[field]}
        response = await call(app, "POST", JOBS, changed, **later)
    assert (response.status, response.problem) == (422, "key_reused")
    assert await app.waiting_messages() == 1


async def test_a_rejected_request_does_not_reserve_its_key(app: Stack) -> None:
    payload = {"source": "a.jpg", "recipe": "web"}
    assert (await call(app, "POST", JOBS, payload, idempotency_key="k")).status == 404
    await app.upload("b.jpg", image_bytes())
    assert (await call(app, "POST", JOBS, {**payload, "source": "b.jpg"}, idempotency_key="k")).status == 200


async def test_a_repeated_key_returns_the_job_of_the_old_source(app: Stack) -> None:
    payload = {"source": "a.jpg", "recipe": "web"}
    etag = await app.upload("a.jpg", image_bytes())
    await call(app, "POST", JOBS, payload, idempotency_key="k")
    await app.upload("a.jpg", image_bytes(seed=90))
    again = (await call(app, "POST", JOBS, payload, idempotency_key="k")).json()
    assert again["source"]["etag"] == etag
    assert (await call(app, "POST", JOBS, payload)).json()["source"]["etag"] != etag


async def expired_keys(app: Stack) -> int:
    """Delete the expired keys; return their number."""
    age = timedelta(hours=app.services.settings.idempotency_ttl_hours, seconds=-1)
    count, position = await DocumentRetention(app.services.idempotency, age).step("")
    assert position == ""
    return count


@pytest.mark.both
async def test_expired_keys_are_reusable_and_get_deleted(backend: Backend) -> None:
    async with backend.opened() as app:
        for name in ("a.jpg", "b.jpg"):
            await app.upload(name, image_bytes())
        payload = {"prefer": "respond-async", "idempotency_key": "k"}
        assert (await call(app, "POST", JOBS, {"source": "a.jpg", "recipe": "web"}, **payload)).status == 202
        assert await expired_keys(app) == 0
        object.__setattr__(app.services.settings, "idempotency_ttl_hours", 0)
        other = await call(app, "POST", JOBS, {"source": "b.jpg", "recipe": "web"}, **payload)
        assert other.status == 202, "the key has expired and is free"
        assert await expired_keys(app) == 1


async def runs_of(app: Stack) -> list[str]:
    return [run["id"] for run in (await call(app, "GET", "/api/runs")).json()["runs"]]


@pytest.mark.parametrize("planned", [True, False])
async def test_same_run_with_same_key_starts_once(app: Stack, planned: bool) -> None:
    await app.upload("photos/a.jpg", image_bytes())
    payload: dict[str, Any] = {"selection": {"prefix": "photos/"}, "expected_count": 1}
    if planned:
        payload = {
            "plan": (await call(app, "POST", "/api/runs/plan", {"selection": payload["selection"]})).json()["id"]
        }
    responses = [await call(app, "POST", "/api/runs", payload, idempotency_key="k") for _ in range(2)]
    assert [response.status for response in responses] == [201, 200]
    assert len({response.headers["Location"] for response in responses}) == 1
    await app.process_messages()
    later = await call(app, "POST", "/api/runs", payload, idempotency_key="k")
    assert (later.status, later.json()["state"], later.json()["progress"]["done"]) == (200, "done", 1)
    assert await runs_of(app) == [later.json()["id"]]
    other = await call(app, "POST", "/api/runs", payload, idempotency_key="k2")
    assert (other.status, other.json()["id"] == later.json()["id"]) == (201, False)


@pytest.mark.both
async def test_concurrent_starts_with_one_key_are_one_run(app: Stack) -> None:
    payload = {"selection": {"prefix": "photos/"}, "expected_count": 1}
    responses = await asyncio.gather(*(call(app, "POST", "/api/runs", payload, idempotency_key="k") for _ in range(4)))
    assert {response.status for response in responses} <= {200, 201}
    assert await runs_of(app) == [responses[0].json()["id"]]


async def test_a_repeated_key_completes_an_interrupted_start(app: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupt the start before the run is stored, and before its first message is sent."""
    await app.upload("photos/a.jpg", image_bytes())
    payload = {"selection": {"prefix": "photos/"}, "expected_count": 1}
    for owner, name in ((RunStore, "create"), (JobQueue, "send")):
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, _interrupted)
            assert (await call(app, "POST", "/api/runs", payload, idempotency_key="k")).status == 503
    response = await call(app, "POST", "/api/runs", payload, idempotency_key="k")
    await app.process_messages()
    run = (await call(app, "GET", response.json()["href"])).json()
    assert (run["state"], run["progress"]["done"], await runs_of(app)) == ("done", 1, [run["id"]])


async def _interrupted(*_: object, **__: object) -> None:
    raise StorageUnavailable("interrupted")


async def test_a_key_belongs_to_one_run(app: Stack) -> None:
    await app.upload("photos/a.jpg", image_bytes())
    payload: dict[str, Any] = {"selection": {"prefix": "photos/"}, "expected_count": 1_000_000}
    assert (await call(app, "POST", "/api/runs", payload, idempotency_key="k")).problem == "over_cap"
    payload["expected_count"] = 1
    assert (await call(app, "POST", "/api/runs", payload, idempotency_key="k")).status == 201, (
        "a rejected request does not reserve its key"
    )
    other = await call(app, "POST", "/api/runs", {**payload, "expected_count": 2}, idempotency_key="k")
    assert (other.status, other.problem) == (422, "key_reused")
    job = await call(app, "POST", JOBS, {"source": "photos/a.jpg", "recipe": "web"}, idempotency_key="k")
    assert (job.status, job.problem) == (422, "key_reused")
