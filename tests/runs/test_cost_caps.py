"""Caps on the cost of runs: no door passes them, and a run that reaches its cap pauses."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from pipeline.errors import ConfigError, RequestError
from pipeline.runs import Progress, Run, Selection
from pipeline.settings import Settings
from pipeline.testing import FakePool, MemoryAccount
from tests.api.client import call
from tests.images import image_bytes
from tests.memory import Memory, open_in_memory

SINGLE = """
recipes:
  web: {isolation: single, match: {include: ["**"]}, renditions: {out: {format: png}}}
"""
WEB = Selection(recipes=("web",))
HOUR = 0.03


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the events of the log lines so far."""
    return [getattr(record, "event", "") for record in caplog.records]


async def upload(memory: Memory, count: int) -> None:
    for number in range(count):
        await memory.upload(f"{number:03}.png", image_bytes(30, 20))


async def started_hours(memory: Memory) -> int:
    """Return the hours of all sessions so far, as the slots count them."""
    summaries = await memory.services.slot_documents.summaries()
    return sum(int(each.fields["hours"].split()[3]) for each in summaries if "hours" in each.fields)


async def over_cap(memory: Memory, **options: Any) -> str:
    with pytest.raises(RequestError) as refused:
        await memory.services.runs.start(WEB, **options)
    return refused.value.kind


async def test_resume_does_not_pass_the_cap() -> None:
    """Start with one job, then resume with 20,000: the cap of the start holds."""
    async with open_in_memory(SINGLE) as memory:
        assert await over_cap(memory, expected_count=20_000) == "over_cap"
        await upload(memory, 3)
        run = await memory.services.runs.start(WEB, expected_count=1)
        await memory.process_messages()
        assert (await memory.services.runs.get(run.id)).more_due
        with pytest.raises(RequestError, match=r"20,000|19,999") as refused:
            await memory.services.runs.resume(run.id, max_jobs=20_000)
        assert refused.value.kind == "over_cap"
        response = await call(memory, "POST", f"/api/runs/{run.id}/resume", {"max_jobs": 20_000})
        assert (response.status, response.problem) == (422, "over_cap")
        resumed = await memory.services.runs.resume(run.id, max_jobs=3)
        await memory.process_messages()
        assert (await memory.services.runs.get(resumed.id)).progress == Progress(done=3)


async def paused_run(memory: Memory, hours: int) -> Run:
    """Start a run whose sessions cost more than expected, and execute it until it pauses."""
    run = await memory.services.runs.start(WEB, expected_count=6)
    await memory.services.hours.of_run(run.id).update(lambda each: type(each)(hours, each.planned))
    await memory.process_messages()
    return await memory.services.runs.get(run.id)


async def test_a_run_pauses_before_its_cap_and_goes_on_with_a_higher_one(caplog: pytest.LogCaptureFixture) -> None:
    async with open_in_memory(SINGLE, pool_max_sessions=4) as memory:
        await upload(memory, 6)
        run = await paused_run(memory, hours=2)
        assert (run.state, run.paused, run.progress) == ("paused", "cost", Progress(done=2, left=4))
        assert "2 session-hours" in run.why
        assert await started_hours(memory) == 2
        assert "run.cost_paused" in events(caplog)
        entries = [await memory.entry("web", f"{number:03}.png") for number in range(6)]
        waiting = [entry for entry in entries if entry and entry.state == "queued"]
        assert all((entry.attempts, entry.service_seconds) == (0, 0) for entry in waiting)
        assert await memory.run_messages() == [], "a paused run has no message that could expire"
        with pytest.raises(RequestError, match=r"cap of 0\.1"):
            await memory.services.runs.resume(run.id, max_cost=0.1)
        resumed = await memory.services.runs.resume(run.id, max_cost=1)
        assert (resumed.state, resumed.paused) == ("working", "")
        await memory.process_messages()
        assert (await memory.services.runs.get(run.id)).progress == Progress(done=6)
        assert await started_hours(memory) == 6


async def test_two_processes_and_another_run_do_not_pass_the_cap_of_a_run() -> None:
    account, pool = MemoryAccount(), FakePool()
    options: dict[str, Any] = {"pool_max_sessions": 8, "run_batch_size": 2}
    async with (
        open_in_memory(SINGLE, account, pool, **options) as one,
        open_in_memory(SINGLE, account, pool, **options) as two,
    ):
        await upload(one, 12)
        runs = [await one.services.runs.start(WEB, expected_count=12) for _ in range(2)]
        for run, hours in zip(runs, (3, 5), strict=True):
            await one.services.hours.of_run(run.id).update(lambda each, most=hours: type(each)(most, each.planned))
        await asyncio.gather(one.process_messages(), two.process_messages())
        seen = [await one.services.runs.get(run.id) for run in runs]
        reserved = [(await one.services.hours.of_run(run.id).read()).reserved for run in runs]
        assert await started_hours(one) == sum(reserved) <= 8
        assert reserved[0] <= 3
        assert reserved[1] <= 5
        assert all(run.state == "paused" for run in seen)


async def test_the_cap_of_the_month_holds_uploads_and_answers_requests_with_the_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_in_memory(SINGLE, pool_max_sessions=4, price_session_hour=1, month_max_cost=2) as memory:
        await upload(memory, 4)
        for number in range(4):
            await memory.services.dispatcher.handle_blob("input", f"{number:03}.png")
        assert await started_hours(memory) == 2
        waiting = [entry for n in range(4) if (entry := await memory.entry("web", f"{n:03}.png"))]
        assert [entry.state for entry in waiting].count("done") == 2
        messages = await memory.take()
        response = await call(memory, "POST", "/api/jobs", {"source": "003.png", "recipe": "web"})
        assert (response.status, response.json()["state"]) == (202, "queued")
        assert "PIPELINE_MONTH_MAX_COST" in response.json()["reason"]
        assert "cost.month_cap_reached" in events(caplog)
        assert await started_hours(memory) == 2
        run = await memory.services.runs.start(WEB, expected_count=2)
        await memory.process_messages()
        assert (await memory.services.runs.get(run.id)).paused == "cost"
        assert all("attempt" not in message and "service_seconds" not in message for message in messages)


async def test_a_cap_below_one_session_hour_has_its_own_message(caplog: pytest.LogCaptureFixture) -> None:
    async with open_in_memory(SINGLE, run_max_cost=HOUR / 2) as memory:
        await upload(memory, 1)
        assert await over_cap(memory, expected_count=1) == "cap_below_hour"
        with caplog.at_level(logging.ERROR):
            assert await memory.services.schedule.start() is None
        assert "run.schedule_refused" in events(caplog)
    async with open_in_memory(SINGLE) as memory:
        assert await over_cap(memory, expected_count=1, max_cost=HOUR / 2) == "cap_below_hour"


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        ({"price_session_hour": 0}, "no_cost_cap", "PIPELINE_PRICE_SESSION_HOUR is 0"),
        ({"pool_endpoint": "https://pool.x.westeurope.azurecontainerapps.io"}, "no_cost_cap", "image of its own"),
    ],
)
async def test_a_cap_that_cannot_hold_is_refused_with_the_reason(values: dict[str, Any], kind: str, words: str) -> None:
    environ = {"PIPELINE_POOL_ENDPOINT": "http://127.0.0.1:1"}
    environ |= {f"PIPELINE_{name.upper()}": str(value) for name, value in values.items()}
    for cap in ("RUN", "MONTH"):
        with pytest.raises(ConfigError, match=words):
            Settings.load({**environ, f"PIPELINE_{cap}_MAX_COST": "5"})
    async with open_in_memory(SINGLE, **values) as memory:
        assert await over_cap(memory, expected_count=1, max_cost=5) == kind
        plan = await memory.services.planner.plan(WEB)
        assert plan.estimate.money.get("sessions") is None
        assert (await memory.services.runs.start(WEB, expected_count=100)).state == "working"


def test_a_month_without_one_session_hour_is_refused() -> None:
    environ = {"PIPELINE_POOL_ENDPOINT": "http://127.0.0.1:1", "PIPELINE_PRICE_SESSION_HOUR": "5"}
    with pytest.raises(ConfigError, match="PIPELINE_MONTH_MAX_COST=4 is less than one session-hour"):
        Settings.load({**environ, "PIPELINE_MONTH_MAX_COST": "4"})
