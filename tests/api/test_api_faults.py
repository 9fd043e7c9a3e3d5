"""The API on in-memory services: failures, slots and health when the pool or storage is unavailable."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.testing import FakePool, MemoryAccount, pool
from tests.api.client import call
from tests.images import image_bytes
from tests.memory import Memory, open_in_memory


async def failed(memory: Memory, *names: str) -> None:
    """Upload sources that are no images, and handle their events."""
    for name in names:
        await memory.upload(name, b"no image")
        await memory.services.dispatcher.handle_blob("input", name)


# -- jobs and failures -----------------------------------------------------------------------------------------------


async def test_a_failed_job_is_retried_and_dismissed(memory: Memory) -> None:
    await failed(memory, "photos/a.jpg")
    (job,) = (await call(memory, "GET", "/api/jobs?state=failed")).json()["jobs"]
    assert job["error"]["kind"] == "not_an_image"
    retried = await call(memory, "POST", f"/api/jobs/{job['id']}/retry")
    assert (retried.status, retried.json()["state"]) == (202, "queued")
    assert retried.headers["Location"].endswith(f"/api/jobs/{job['id']}")
    again = await call(memory, "POST", f"/api/jobs/{job['id']}/retry")
    assert (again.status, again.problem) == (409, "job_queued")
    dismissed = await call(memory, "DELETE", f"/api/jobs/{job['id']}")
    assert (dismissed.status, dismissed.json()["state"]) == (200, "dismissed")
    (message,) = await memory.take()
    await memory.run_queued(message)
    assert (await call(memory, "GET", f"/api/jobs/{job['id']}")).json()["state"] == "dismissed"


@pytest.mark.parametrize("path", ["nonsense", "web.YQ", "w" * 5000])
async def test_an_unknown_job_is_404(memory: Memory, path: str) -> None:
    for method, action in (("GET", ""), ("DELETE", ""), ("POST", "/retry")):
        assert (await call(memory, method, f"/api/jobs/{path}{action}")).status in (400, 404)


async def test_a_done_job_cannot_be_dismissed(memory: Memory) -> None:
    body = {"source": "photos/a.jpg", "recipe": "web"}
    await memory.upload("photos/a.jpg", image_bytes(60, 40))
    done = await call(memory, "POST", "/api/jobs", body)
    assert (done.status, done.json()["state"]) == (200, "done")
    refused = await call(memory, "DELETE", f"/api/jobs/{done.json()['id']}")
    assert (refused.status, refused.problem) == (409, "job_done")


async def test_failures_are_grouped_and_retried(memory: Memory) -> None:
    await failed(memory, "photos/a.jpg", "photos/b.jpg", "photos/c.jpg")
    groups = (await call(memory, "GET", "/api/failures?recipe=web")).json()["groups"]
    assert [(group["kind"], group["class"], group["count"]) for group in groups] == [("not_an_image", "SourceError", 3)]
    await memory.services.account.container("input").delete_blob("photos/b.jpg")
    none = await call(memory, "POST", "/api/failures/retry", {"kind": "too_large"})
    assert none.json() == {"retried": 0, "skipped": 0, "more": False}
    response = await call(memory, "POST", "/api/failures/retry", {"recipe": "web", "prefix": "photos/"})
    assert response.json() == {"retried": 2, "skipped": 1, "more": False}
    assert len(await memory.take()) == 2


async def test_a_full_pool_defers_a_request(memory: Memory) -> None:
    await memory.upload("photos/a.jpg", image_bytes(60, 40))
    memory.pool.fail("POST files", pool.FULL, times=2)
    body = {"source": "photos/a.jpg", "recipe": "web"}
    response = await call(memory, "POST", "/api/jobs", body, prefer="wait=0.2")
    assert (response.status, response.json()["state"]) == (202, "queued")
    assert response.headers["Retry-After"]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_unavailable_storage_is_503(memory: Memory, method: str) -> None:
    memory.account.fail("row", 503, "ServerBusy", times=9)
    memory.account.fail("blob", 503, "ServerBusy", times=9)
    body = {"source": "photos/a.jpg", "recipe": "web"} if method == "POST" else None
    response = await call(memory, method, "/api/jobs", body)
    assert (response.status, response.problem) == (503, "storage_unavailable")
    assert response.headers["Retry-After"]


async def test_an_internal_error_is_500_without_details(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(type(memory.services.ledger), "page", broken)
    response = await call(memory, "GET", "/api/jobs")
    assert response.status == 500
    assert b"secret" not in response.body


# -- slots -----------------------------------------------------------------------------------------------------------


def slots(document: Any) -> list[str]:
    return [slot["state"] for slot in document["slots"]]


async def test_an_idle_session_is_ended_on_request() -> None:
    account, sessions = MemoryAccount(), FakePool()
    async with open_in_memory(account=account, pool=sessions) as first:
        await first.upload("photos/a.jpg", image_bytes(60, 40))
        await first.services.dispatcher.handle_blob("input", "photos/a.jpg")
        assert "leased" in slots((await call(first, "GET", "/api/pool")).json())
        # Its own slot, in this process.
        (number,) = [
            n for n, state in enumerate(slots((await call(first, "GET", "/api/pool")).json())) if state == "leased"
        ]
        soon = await call(first, "POST", f"/api/pool/slots/{number}/recycle")
        assert (soon.status, soon.json()["outcome"]) == (202, "draining")
    assert len(sessions.sessions) == 1
    async with open_in_memory(account=account, pool=sessions) as second:
        assert slots((await call(second, "GET", "/api/pool")).json()).count("dirty") == 1
        ended = await call(second, "POST", f"/api/pool/slots/{number}/recycle")
        assert (ended.status, ended.json()["outcome"]) == (200, "ended")
        assert sessions.sessions == {}
        nothing = await call(second, "POST", f"/api/pool/slots/{number}/recycle")
        assert nothing.json()["outcome"] == "no_session"
        assert (await call(second, "POST", "/api/pool/slots/99/recycle")).status == 404


async def test_another_process_is_asked_to_recycle(monkeypatch: pytest.MonkeyPatch) -> None:
    account, sessions = MemoryAccount(), FakePool()
    async with (
        open_in_memory(account=account, pool=sessions, pool_max_sessions=1) as holder,
        open_in_memory(account=account, pool=sessions, pool_max_sessions=1) as other,
        holder.services.scheduler.acquire_slot("shared"),
    ):
        first = await call(other, "POST", "/api/pool/slots/0/recycle")
        assert (first.status, first.json()["outcome"]) == (202, "requested")
        assert len(await other.services.slot_status.recycle_requests()) == 1
        monkeypatch.setattr("pipeline.monitoring.pool_overview.RECYCLE_TIMEOUT_SECONDS", -1.0)
        late = await call(other, "POST", "/api/pool/slots/0/recycle")
        assert late.json()["outcome"] == "lease_broken"


# -- health, version, statistics -------------------------------------------------------------------------------------


async def test_health_names_what_is_unavailable(memory: Memory) -> None:
    healthy = await call(memory, "GET", "/api/health")
    assert healthy.status == 200, healthy.body
    memory.pool.fail("DELETE session", pool.UNREACHABLE)
    memory.account.fail("queue.properties jobs", 503, "ServerBusy")
    response = await call(memory, "GET", "/api/health")
    assert response.status == 503
    bad = [each["name"] for each in response.json()["dependencies"] if not each["healthy"]]
    assert sorted(bad) == ["queue jobs", "session pool"]


async def test_health_needs_every_container() -> None:
    async with open_in_memory() as memory:
        await memory.services.account.container("uploads").delete_container()
        response = await call(memory, "GET", "/api/health")
        (bad,) = [each for each in response.json()["dependencies"] if not each["healthy"]]
        assert bad["name"] == "container uploads"
        assert "init" in bad["reason"]


async def test_statistics_count_jobs_and_messages(memory: Memory) -> None:
    await failed(memory, "photos/a.jpg")
    await memory.upload("photos/b.jpg", image_bytes(60, 40))
    await memory.services.dispatcher.handle_blob("input", "photos/b.jpg")
    await memory.services.ledger.metrics.flush()
    (job,) = (await call(memory, "GET", "/api/jobs?state=failed")).json()["jobs"]
    await call(memory, "POST", f"/api/jobs/{job['id']}/retry")
    document = (await call(memory, "GET", "/api/stats?minutes=5")).json()
    assert (sum(each["done"] for each in document["minutes"]), sum(each["failed"] for each in document["minutes"])) == (
        1,
        1,
    )
    assert document["queue"]["depth"] == 1
    assert document["queue"]["oldest"] >= 0
    assert document["run_queue"] == {"depth": 0, "oldest": None}
    assert document["pool"]["capacity"] == 2


async def test_a_preview_and_a_rendition_of_an_upload(memory: Memory) -> None:
    image = image_bytes(60, 40)
    submitted = await call(
        memory, "POST", "/api/jobs?recipe=tutorial&name=a.jpg", image_bytes(500, 500), content_type="image/jpeg"
    )
    assert submitted.status == 200, submitted.body
    rendition = submitted.json()["renditions"][0]
    fetched = await call(memory, "GET", "/api/" + rendition["href"].split("/api/")[1])
    assert (fetched.status, fetched.kind) == (200, "image/png")
    same = await call(
        memory, "GET", "/api/" + rendition["href"].split("/api/")[1], if_none_match=fetched.headers["ETag"]
    )
    assert same.status == 304
    preview = await call(memory, "POST", "/api/preview?recipe=web", image, content_type="image/jpeg")
    assert preview.status == 200, preview.body
    assert json.loads(preview.body)["renditions"] if preview.kind == "application/json" else preview.body
