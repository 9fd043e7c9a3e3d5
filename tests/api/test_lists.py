"""Jobs as lists: paged, sieved, done once more or dismissed; failures by their kind; figures by the minute."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from pipeline.storage.queue import Message
from tests.api.calling import call
from tests.images import picture
from tests.stack import Stack, opened

OWN = {"renditions": {"a": {"format": "jpeg", "transforms": [{"resize": {"width": 50}}]}}}


@pytest.fixture
async def busy(environ: dict[str, str]) -> AsyncIterator[Stack]:
    """Three jobs done, one failed, one waiting, one of a recipe of a request."""
    async with opened({**environ, "PIPELINE_ADHOC_RECIPES": "on"}) as stack:
        for name in ("photos/a.jpg", "photos/b.jpg", "photos/c/c.jpg", "photos/c/d.jpg"):
            await stack.drop(name, picture(120, 90))
        await stack.drop("photos/bad.jpg", b"no image" * 50)
        for name in ("photos/a.jpg", "photos/b.jpg", "photos/c/c.jpg", "photos/bad.jpg"):
            await ask(stack, name)
        await call(stack, "POST", "/api/jobs", {"source": "photos/a.jpg", **OWN})
        await ask(stack, "photos/c/d.jpg", prefer="respond-async")
        yield stack


async def ask(stack: Stack, name: str, **headers: str) -> Any:
    return (await call(stack, "POST", "/api/jobs", {"source": name, "recipe": "web"}, **headers)).json()


async def names(stack: Stack, query: str) -> list[str]:
    """The sources on all pages."""
    found: list[str] = []
    address: str | None = f"/api/jobs?{query}"
    while address:
        answer = (await call(stack, "GET", address)).json()
        found += [job["source"]["name"] for job in answer["jobs"]]
        address = answer["next"]
    return found


async def test_jobs_are_listed_and_sieved_page_by_page(busy: Stack) -> None:
    every = await names(busy, "limit=2")
    assert (every[0], len(every)) == ("photos/c/d.jpg", 6), "the newest comes first"
    assert await names(busy, "state=failed") == ["photos/bad.jpg"]
    assert await names(busy, "state=queued&recipe=web") == ["photos/c/d.jpg"]
    assert await names(busy, "prefix=photos/c/&limit=1&recipe=web") == ["photos/c/c.jpg", "photos/c/d.jpg"]
    assert await names(busy, "recipe=_adhoc") == ["photos/a.jpg"]
    assert await names(busy, "recipe=tutorial") == []
    (job,) = (await call(busy, "GET", "/api/jobs?state=failed")).json()["jobs"]
    assert (job["error"]["kind"], job["error"]["class"], job["error"]["stage"]) == (
        "not_an_image",
        "SourceError",
        "run",
    )
    assert job["report"] is None


async def test_a_wrong_question_about_jobs_is_told(stack: Stack) -> None:
    for query in ("state=lost", "limit=0", "limit=x", "token=nonsense", "colour=red", "prefix=a%00b", "recipe=../x"):
        answer = await call(stack, "GET", f"/api/jobs?{query}")
        assert answer.status == 400, query
        assert answer.problem in ("bad_request", "invalid_cursor")
    assert (await call(stack, "GET", "/api/jobs?code=key")).status == 200, "where the platform looks for its key"


async def test_a_failure_is_done_once_more_when_asked(busy: Stack) -> None:
    await busy.drop("photos/bad.jpg", picture(120, 90))
    (job,) = (await call(busy, "GET", "/api/jobs?state=failed")).json()["jobs"]
    answer = await call(busy, "POST", f"{job['href']}/retry")
    assert (answer.status, answer.json()["state"], answer.headers["Location"]) == (202, "queued", job["href"])
    again = await call(busy, "POST", f"{job['href']}/retry")
    assert (again.status, again.problem, again.json()["job"]) == (409, "job_queued", job["id"])
    for message in await busy.messages():
        await busy.services.dispatcher.handle_message(Message(**message).model_dump_json().encode())
    assert (await call(busy, "GET", job["href"])).json()["state"] == "done"
    assert (await call(busy, "GET", "/api/jobs?state=queued")).json()["jobs"] == []


async def test_a_job_of_a_recipe_of_a_request_is_retried_with_that_recipe(busy: Stack) -> None:
    (job,) = (await call(busy, "GET", "/api/jobs?recipe=_adhoc")).json()["jobs"]
    assert (await call(busy, "POST", f"{job['href']}/retry")).status == 202
    (message,) = [each for each in await busy.messages() if each["recipe"] == job["recipe"]]
    async with opened(busy.environ) as another:
        await another.services.dispatcher.handle_message(Message(**message).model_dump_json().encode())
    done = (await call(busy, "GET", job["href"])).json()
    assert (done["state"], done["attempts"]) == ("done", 2)


async def test_what_waits_or_failed_can_be_dismissed_and_what_is_done_cannot(busy: Stack) -> None:
    for state, status in (("failed", 200), ("queued", 200), ("done", 409)):
        (job, *_) = (await call(busy, "GET", f"/api/jobs?state={state}")).json()["jobs"]
        answer = await call(busy, "DELETE", job["href"])
        assert answer.status == status, state
        if status == 200:
            assert answer.json()["state"] == "dismissed"
            source = job["source"]["name"]
            asked = await call(busy, "POST", "/api/jobs", {"source": source, "recipe": "web"})
            assert (asked.status, asked.problem) == (409, "job_dismissed")
    unknown = await call(busy, "DELETE", "/api/jobs/web.AAAA")
    assert (unknown.status, unknown.problem) == (404, "unknown_job")


async def test_failures_are_grouped_by_their_kind_and_retried_together(busy: Stack) -> None:
    await busy.drop("photos/worse.jpg", b"")
    await ask(busy, "photos/worse.jpg")
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


async def test_the_figures_tell_what_ended_what_waits_and_what_is_free(busy: Stack) -> None:
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
