"""Lists of jobs: pages, filters, retry and dismissal; failures by kind; statistics by minute."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from pipeline.storage.queue import Message
from tests.api.client import call
from tests.api.conftest import Backend
from tests.images import image_bytes
from tests.stack import Stack

OWN = {"renditions": {"a": {"format": "jpeg", "transforms": [{"resize": {"width": 50}}]}}}


@pytest.fixture
async def busy(backend: Backend) -> AsyncIterator[Stack]:
    """Execute four jobs, one of them ad-hoc; a fifth one has failed, a sixth one is queued."""
    async with backend.opened(adhoc_recipes="on") as app:
        for name in ("photos/a.jpg", "photos/b.jpg", "photos/c/c.jpg", "photos/c/d.jpg"):
            await app.upload(name, image_bytes(120, 90))
        await app.upload("photos/bad.jpg", b"no image" * 50)
        for name in ("photos/a.jpg", "photos/b.jpg", "photos/c/c.jpg", "photos/bad.jpg"):
            await submit(app, name)
        await call(app, "POST", "/api/jobs", {"source": "photos/a.jpg", **OWN})
        await submit(app, "photos/c/d.jpg", prefer="respond-async")
        yield app


async def submit(app: Stack, name: str, **headers: str) -> Any:
    return (await call(app, "POST", "/api/jobs", {"source": name, "recipe": "web"}, **headers)).json()


async def names(app: Stack, query: str) -> list[str]:
    """Return the names of the sources on all pages."""
    sources: list[str] = []
    url: str | None = f"/api/jobs?{query}"
    while url:
        response = (await call(app, "GET", url)).json()
        sources += [job["source"]["name"] for job in response["jobs"]]
        url = response["next"]
    return sources


@pytest.mark.both
async def test_jobs_are_filtered_and_listed_page_by_page(busy: Stack) -> None:
    every = await names(busy, "limit=2")
    assert (every[0], len(every)) == ("photos/c/d.jpg", 6), "newest first"
    assert await names(busy, "state=failed") == ["photos/bad.jpg"]
    assert await names(busy, "state=queued&recipe=web") == ["photos/c/d.jpg"]
    assert await names(busy, "prefix=photos/c/&limit=1&recipe=web") == ["photos/c/c.jpg", "photos/c/d.jpg"]
    assert await names(busy, "recipe=_adhoc") == ["photos/a.jpg"]
    assert await names(busy, "recipe=tutorial") == []
    (job,) = (await call(busy, "GET", "/api/jobs?state=failed")).json()["jobs"]
    assert (job["error"]["kind"], job["error"]["class"], job["error"]["stage"]) == (
        "not_an_image",
        "SourceError",
        "execute",
    )
    assert job["report"] is None


async def test_invalid_queries_are_rejected(app: Stack) -> None:
    for query in ("state=lost", "limit=0", "limit=x", "cursor=nonsense", "color=red", "prefix=a%00b", "recipe=../x"):
        response = await call(app, "GET", f"/api/jobs?{query}")
        assert response.status == 400, query
        assert response.problem in ("bad_request", "invalid_cursor")
    assert (await call(app, "GET", "/api/jobs?code=key")).status == 200, "`code` is the parameter of the function key"


async def test_a_failed_job_can_be_retried(busy: Stack) -> None:
    await busy.upload("photos/bad.jpg", image_bytes(120, 90))
    (job,) = (await call(busy, "GET", "/api/jobs?state=failed")).json()["jobs"]
    response = await call(busy, "POST", f"{job['href']}/retry")
    assert (response.status, response.json()["state"], response.headers["Location"]) == (202, "queued", job["href"])
    again = await call(busy, "POST", f"{job['href']}/retry")
    assert (again.status, again.problem, again.json()["job"]) == (409, "job_queued", job["id"])
    for message in await busy.messages():
        await busy.services.dispatcher.handle_message(Message(**message).model_dump_json().encode())
    assert (await call(busy, "GET", job["href"])).json()["state"] == "done"
    assert (await call(busy, "GET", "/api/jobs?state=queued")).json()["jobs"] == []


async def test_an_adhoc_job_is_retried_with_its_recipe(busy: Stack, backend: Backend) -> None:
    (job,) = (await call(busy, "GET", "/api/jobs?recipe=_adhoc")).json()["jobs"]
    assert (await call(busy, "POST", f"{job['href']}/retry")).status == 202
    (message,) = [each for each in await busy.messages() if each["recipe"] == job["recipe"]]
    async with backend.opened(adhoc_recipes="on") as another:
        await another.services.dispatcher.handle_message(Message(**message).model_dump_json().encode())
    done = (await call(busy, "GET", job["href"])).json()
    assert (done["state"], done["attempts"]) == ("done", 2)


async def test_only_failed_and_queued_jobs_can_be_dismissed(busy: Stack) -> None:
    for state, status in (("failed", 200), ("queued", 200), ("done", 409)):
        (job, *_) = (await call(busy, "GET", f"/api/jobs?state={state}")).json()["jobs"]
        response = await call(busy, "DELETE", job["href"])
        assert response.status == status, state
        if status == 200:
            assert response.json()["state"] == "dismissed"
            source = job["source"]["name"]
            submitted = await call(busy, "POST", "/api/jobs", {"source": source, "recipe": "web"})
            assert (submitted.status, submitted.problem) == (409, "job_dismissed")
    unknown = await call(busy, "DELETE", "/api/jobs/web.AAAA")
    assert (unknown.status, unknown.problem) == (404, "unknown_job")


@pytest.mark.both
async def test_failures_are_counted_and_retried_by_kind(busy: Stack) -> None:
    await busy.upload("photos/worse.jpg", b"")
    await submit(busy, "photos/worse.jpg")
    failures = (await call(busy, "GET", "/api/failures")).json()
    assert {(group["kind"], group["count"], group["example"]) for group in failures["groups"]} == {
        ("not_an_image", 1, "photos/bad.jpg"),
        ("empty_source", 1, "photos/worse.jpg"),
    }
    assert len((await call(busy, "GET", failures["jobs"])).json()["jobs"]) == 2
    some = await call(busy, "POST", "/api/failures/retry", {"kind": "empty_source"})
    assert some.json() == {"retried": 1, "skipped": 0, "more": False}
    container = busy.services.account.container(busy.services.settings.input_container)
    await container.delete_blob("photos/bad.jpg")
    rest = await call(busy, "POST", "/api/failures/retry")
    assert rest.json() == {"retried": 0, "skipped": 1, "more": False}
    assert (await call(busy, "POST", "/api/failures/retry", {"knd": "x"})).problem == "bad_request"


async def test_statistics_count_jobs_messages_and_slots(busy: Stack) -> None:
    await busy.services.ledger.metrics.flush()
    stats = (await call(busy, "GET", "/api/stats?minutes=5")).json()
    totals = {
        recipe: (
            sum(each["done"] for each in stats["minutes"] if each["recipe"] == recipe),
            sum(each["failed"] for each in stats["minutes"] if each["recipe"] == recipe),
        )
        for recipe in ("web", "_adhoc")
    }
    assert totals == {"web": (3, 1), "_adhoc": (1, 0)}
    assert any(each["ms"].get("execute", 0) > 0 for each in stats["minutes"])
    assert (stats["queue"]["depth"], stats["queue"]["oldest"] >= 0) == (1, True)
    assert stats["pool"]["capacity"] == 2
    assert (await call(busy, "GET", "/api/stats?minutes=0")).problem == "bad_request"
