"""Runs over HTTP: plan, start, follow, list, cancel and resume."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.client import ApiResponse, call
from tests.images import image_bytes
from tests.stack import Stack

RUNS = "/api/runs"


async def plan(app: Stack, **selection: Any) -> Any:
    response = await call(app, "POST", f"{RUNS}/plan", {"selection": selection})
    assert response.status == 200, response.body
    return response.json()


async def upload_sources(app: Stack, count: int = 3) -> None:
    for number in range(count):
        await app.upload(f"photos/{number}.jpg", image_bytes(120, 90, seed=number))


async def rejected(app: Stack, path: str, body: Any = None) -> tuple[int, str]:
    headers = {"content_type": "application/json"} if isinstance(body, bytes) else {}
    response: ApiResponse = await call(app, "POST", path, body, **headers)
    return response.status, response.problem


@pytest.mark.both
async def test_a_run_is_planned_started_followed_and_listed(app: Stack) -> None:
    await upload_sources(app)
    planned = await plan(app, prefix="photos/")
    assert (planned["complete"], planned["jobs"], planned["reasons"]) == (True, 3, {"new": 3})
    assert planned["estimate"]["transactions"] > 0
    response = await call(app, "POST", planned["start"], {"plan": planned["id"]})
    run = response.json()
    assert (response.status, response.headers["Location"], run["state"]) == (201, run["href"], "working")
    await app.process_messages()
    run = (await call(app, "GET", run["href"])).json()
    assert (run["state"], run["progress"]) == ("done", {"done": 3, "skipped": 0, "failed": 0, "left": 0})
    jobs = (await call(app, "GET", run["jobs"])).json()["jobs"]
    assert {job["source"]["name"] for job in jobs} == {f"photos/{number}.jpg" for number in range(3)}
    assert (await plan(app))["jobs"] == 0, "nothing has changed"
    listed = (await call(app, "GET", RUNS)).json()
    assert ([each["id"] for each in listed["runs"]], listed["next"]) == ([run["id"]], None)
    assert await rejected(app, f"{run['href']}/cancel") == (409, "run_done")
    assert await rejected(app, f"{run['href']}/resume") == (409, "run_done")


async def test_a_cancelled_run_starts_no_job_until_resumed(app: Stack) -> None:
    await upload_sources(app)
    started = {"selection": {"prefix": "photos/"}, "expected_count": 3}
    run = (await call(app, "POST", RUNS, started)).json()
    cancelled = await call(app, "POST", f"{run['href']}/cancel")
    assert (cancelled.status, cancelled.json()["state"]) == (200, "cancelled")
    await app.process_messages()
    assert await app.outputs() == {}
    resumed = await call(app, "POST", f"{run['href']}/resume")
    assert (resumed.status, resumed.json()["state"]) == (202, "working")
    await app.process_messages()
    assert (await call(app, "GET", run["href"])).json()["progress"]["done"] == 3


async def test_a_run_that_leaves_due_jobs_says_so_and_continues_with_a_higher_cap(app: Stack) -> None:
    await upload_sources(app, 3)
    run = (await call(app, "POST", RUNS, {"selection": {}, "expected_count": 2})).json()
    assert (run["more_due"], run["most"]) == (False, 2)
    await app.process_messages()
    run = (await call(app, "GET", run["href"])).json()
    assert (run["state"], run["more_due"], run["progress"]["done"]) == ("done", True, 2)
    assert run["why"].startswith("more is due: 2 jobs were planned")
    assert await rejected(app, f"{run['href']}/resume") == (409, "run_done")
    assert (await call(app, "POST", f"{run['href']}/resume", {"max_jobs": 3})).status == 202
    await app.process_messages()
    run = (await call(app, "GET", run["href"])).json()
    assert (run["state"], run["more_due"], run["why"], run["progress"]["done"]) == ("done", False, "", 3)


async def test_runs_are_listed_page_by_page(app: Stack) -> None:
    await upload_sources(app, 1)
    started = [(await call(app, "POST", RUNS, {"selection": {}, "expected_count": 1})).json()["id"] for _ in range(3)]
    page = (await call(app, "GET", f"{RUNS}?limit=2")).json()
    rest = (await call(app, "GET", page["next"])).json()
    assert sorted(run["id"] for run in page["runs"] + rest["runs"]) == sorted(started)
    assert rest["next"] is None


async def test_invalid_plans_and_starts_are_rejected(app: Stack) -> None:
    assert (await plan(app))["jobs"] == 0, "an empty container"
    assert await rejected(app, f"{RUNS}/plan", {"selection": {"recipes": ["wep"]}}) == (404, "unknown_recipe")
    assert await rejected(app, f"{RUNS}/plan", {"selection": {"reasons": ["because"]}}) == (400, "bad_request")
    assert await rejected(app, f"{RUNS}/plan", {"selection": {"prefx": "a"}}) == (400, "bad_request")
    for odd in ({"max_age": 1e308}, {"min_age": 10**11}, {"prefix": "a\r\nb"}, {"prefix": "a\x9f"}):
        assert await rejected(app, f"{RUNS}/plan", {"selection": odd}) == (400, "bad_request")
    assert await rejected(app, f"{RUNS}/plan", b'{"selection": {"max_age": Infinity}}') == (400, "bad_request")
    assert await rejected(app, f"{RUNS}/plan", {"marker": "20260101-000000-000000"}) == (404, "unknown_plan")
    assert await rejected(app, RUNS, {}) == (400, "no_plan")
    assert await rejected(app, RUNS, {"plan": "nonsense"}) == (404, "unknown_plan")
    assert await rejected(app, RUNS, {"plan": "no/such#plan"}) == (404, "unknown_plan")
    assert await rejected(app, RUNS, {"selection": {}, "expected_count": 10**8}) == (422, "over_cap")
    for verb in ("cancel", "resume"):
        assert await rejected(app, f"{RUNS}/20260101-000000-000000/{verb}") == (404, "unknown_run")
    assert (await call(app, "GET", f"{RUNS}/nonsense")).problem == "unknown_run"
    assert (await call(app, "GET", f"{RUNS}?cursor=xyz")).problem == "invalid_cursor"


@pytest.mark.both
async def test_a_missing_container_is_named(stack: Stack) -> None:
    await stack.services.account.container(stack.services.settings.input_container).delete_container()
    missing = await call(stack, "POST", f"{RUNS}/plan", {})
    assert (missing.status, missing.problem) == (503, "storage_not_found")
    assert "pipeline init" in missing.json()["detail"]
