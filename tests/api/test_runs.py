"""Runs over HTTP: nothing is done before it was planned, and what was begun can be followed and stopped."""

from __future__ import annotations

from typing import Any

from tests.api.calling import Answered, call
from tests.images import picture
from tests.stack import Stack

RUNS = "/api/runs"


async def plan(stack: Stack, **selection: Any) -> Any:
    answer = await call(stack, "POST", f"{RUNS}/plan", {"selection": selection})
    assert answer.status == 200, answer.body
    return answer.json()


async def dropped(stack: Stack, count: int = 3) -> None:
    for number in range(count):
        await stack.drop(f"photos/{number}.jpg", picture(120, 90, seed=number))


async def refused(stack: Stack, path: str, body: Any = None) -> tuple[int, str]:
    headers = {"content_type": "application/json"} if isinstance(body, bytes) else {}
    answer: Answered = await call(stack, "POST", path, body, **headers)
    return answer.status, answer.problem


async def test_a_run_is_planned_started_followed_to_its_end_and_its_jobs_are_listed(stack: Stack) -> None:
    await dropped(stack)
    planned = await plan(stack, prefix="photos/")
    assert (planned["complete"], planned["jobs"], planned["reasons"]) == (True, 3, {"new": 3})
    assert planned["estimate"]["transactions"] > 0
    answer = await call(stack, "POST", planned["start"], {"plan": planned["id"]})
    run = answer.json()
    assert (answer.status, answer.headers["Location"], run["state"]) == (201, run["href"], "working")
    await stack.work_off()
    run = (await call(stack, "GET", run["href"])).json()
    assert (run["state"], run["progress"]) == ("done", {"done": 3, "skipped": 0, "failed": 0, "left": 0})
    jobs = (await call(stack, "GET", run["jobs"])).json()["jobs"]
    assert {job["source"]["name"] for job in jobs} == {f"photos/{number}.jpg" for number in range(3)}
    assert (await plan(stack))["jobs"] == 0, "nothing has changed"
    listed = (await call(stack, "GET", RUNS)).json()
    assert ([each["id"] for each in listed["runs"]], listed["next"]) == ([run["id"]], None)
    assert await refused(stack, f"{run['href']}/cancel") == (409, "run_done")
    assert await refused(stack, f"{run['href']}/resume") == (409, "run_done")


async def test_a_run_that_is_cancelled_begins_nothing_until_it_is_resumed(stack: Stack) -> None:
    await dropped(stack)
    started = {"selection": {"prefix": "photos/"}, "expected_count": 3}
    run = (await call(stack, "POST", RUNS, started)).json()
    cancelled = await call(stack, "POST", f"{run['href']}/cancel")
    assert (cancelled.status, cancelled.json()["state"]) == (200, "cancelled")
    await stack.work_off()
    assert await stack.outputs() == {}
    resumed = await call(stack, "POST", f"{run['href']}/resume")
    assert (resumed.status, resumed.json()["state"]) == (202, "working")
    await stack.work_off()
    assert (await call(stack, "GET", run["href"])).json()["progress"]["done"] == 3


async def test_runs_come_page_by_page_the_newest_first(stack: Stack) -> None:
    await dropped(stack, 1)
    started = [(await call(stack, "POST", RUNS, {"selection": {}, "expected_count": 1})).json()["id"] for _ in range(3)]
    page = (await call(stack, "GET", f"{RUNS}?limit=2")).json()
    rest = (await call(stack, "GET", page["next"])).json()
    assert sorted(run["id"] for run in page["runs"] + rest["runs"]) == sorted(started)
    assert rest["next"] is None


async def test_what_cannot_be_planned_or_started_is_told(stack: Stack) -> None:
    assert (await plan(stack))["jobs"] == 0, "an empty container"
    assert await refused(stack, f"{RUNS}/plan", {"selection": {"recipes": ["wep"]}}) == (404, "unknown_recipe")
    assert await refused(stack, f"{RUNS}/plan", {"selection": {"reasons": ["because"]}}) == (400, "bad_request")
    assert await refused(stack, f"{RUNS}/plan", {"selection": {"prefx": "a"}}) == (400, "bad_request")
    for odd in ({"max_age": 1e308}, {"min_age": 10**11}, {"prefix": "a\r\nb"}, {"prefix": "a\x9f"}):
        assert await refused(stack, f"{RUNS}/plan", {"selection": odd}) == (400, "bad_request")
    assert await refused(stack, f"{RUNS}/plan", b'{"selection": {"max_age": Infinity}}') == (400, "bad_request")
    assert await refused(stack, f"{RUNS}/plan", {"marker": "20260101-000000-000000"}) == (404, "unknown_plan")
    assert await refused(stack, RUNS, {}) == (400, "no_plan")
    assert await refused(stack, RUNS, {"plan": "nonsense"}) == (404, "unknown_plan")
    assert await refused(stack, RUNS, {"plan": "no/such#plan"}) == (404, "unknown_plan")
    assert await refused(stack, RUNS, {"selection": {}, "expected_count": 10**8}) == (422, "over_cap")
    for verb in ("cancel", "resume"):
        assert await refused(stack, f"{RUNS}/20260101-000000-000000/{verb}") == (404, "unknown_run")
    assert (await call(stack, "GET", f"{RUNS}/nonsense")).problem == "unknown_run"
    assert (await call(stack, "GET", f"{RUNS}?cursor=xyz")).problem == "invalid_cursor"
    await stack.services.account.container(stack.services.settings.input_container).delete_container()
    missing = await call(stack, "POST", f"{RUNS}/plan", {})
    assert (missing.status, missing.problem) == (503, "configuration")
    assert "pipeline init" in missing.json()["detail"]
