"""Runs from plan to end on the local stack: real blobs, tables, queues and sessions."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace as with_field
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline import recipes, runs
from pipeline.errors import RequestError, StateConflict
from pipeline.runs import scheduled_start
from pipeline.runs.estimates import Measured, Pool, Times, duration, estimate
from pipeline.runs.model import Progress
from pipeline.settings import Settings
from pipeline.storage.queue import RunWork
from tests.images import image_bytes
from tests.memory import Memory
from tests.stack import RECIPES, Stack, open_stack

COUNT = 12
ISOLATED = """
recipes:
  web: {renditions: {out: {format: jpeg}}}
  tenants: {isolation: tenant, renditions: {out: {format: jpeg}}}
  alone: {isolation: single, renditions: {out: {format: jpeg}}}
  ours: {isolation: trusted, renditions: {out: {format: jpeg}}}
"""
WEB = runs.Selection(recipes=("web",))


async def upload_images(stack: Stack, count: int = COUNT) -> None:
    """Upload images."""
    await asyncio.gather(*(stack.upload(f"photos/{n:03d}.jpg", image_bytes(120, 80, seed=n)) for n in range(count)))


async def planned(stack: Stack, **selection: Any) -> runs.Plan:
    """Plan a run."""
    return await stack.services.planner.plan(runs.Selection(**{"recipes": ("web",), **selection}))


async def ran(stack: Stack, **selection: Any) -> runs.Run:
    """Plan, start and finish a run."""
    plan = await planned(stack, **selection)
    run = await stack.services.runs.start(plan_id=plan.id)
    await stack.process_messages()
    return await stack.services.runs.get(run.id)


def change_recipe(path: Path) -> None:
    """Change the recipe `web`."""
    path.write_text(RECIPES.replace("width: 200", "width: 150"))


@pytest.mark.both
async def test_a_run_executes_its_plan_and_the_next_plan_is_empty(stack: Stack) -> None:
    await upload_images(stack)
    await stack.upload("photos/bad.jpg", b"not an image")
    await stack.upload("elsewhere/a.jpg", image_bytes())
    plan = await planned(stack)
    assert (plan.jobs, plan.sources, plan.reasons, plan.complete) == (COUNT + 1, COUNT + 2, {"new": COUNT + 1}, True)
    run = await stack.services.runs.start(plan_id=plan.id)
    await stack.process_messages()
    seen = await stack.services.runs.get(run.id)
    assert (seen.state, seen.progress) == ("done", Progress(done=COUNT, failed=1))
    assert len(await stack.outputs()) == 2 * COUNT
    entries, _ = await stack.services.ledger.page(run=run.id)
    assert len(entries) == COUNT + 1
    again = await planned(stack)
    assert (again.jobs, again.estimate.transactions, again.estimate.total) == (0, 0, 0)
    assert (await planned(stack, reasons="all")).reasons == {"done": COUNT, "failed": 1}


async def test_a_changed_recipe_makes_exactly_its_jobs_stale(environ: dict[str, str], recipe_file: Path) -> None:
    async with open_stack(environ) as stack:
        await upload_images(stack, 4)
        await ran(stack)
        before = await stack.entry("web", "photos/000.jpg")
        assert before is not None
    change_recipe(recipe_file)
    async with open_stack(environ) as stack:
        await stack.upload("photos/001.jpg", image_bytes(seed=99))
        await stack.upload("photos/new.jpg", image_bytes(seed=98))
        plan = await planned(stack)
        assert plan.reasons == {"recipe_changed": 3, "changed": 1, "new": 1}
        assert (await planned(stack, reasons="stale")).jobs == 4
        run = await stack.services.runs.start(plan_id=plan.id)
        await stack.process_messages()
        assert (await stack.services.runs.get(run.id)).progress == Progress(done=5)
        entry = await stack.entry("web", "photos/000.jpg")
        assert entry is not None
        assert (entry.generation, entry.attempts) == (before.generation + 1, 1)


@pytest.mark.parametrize("duplicate", ["page", "every batch", "all messages"])
async def test_duplicate_deliveries_count_once(stack: Stack, duplicate: str) -> None:
    await upload_images(stack)
    stack = Stack(
        with_field(stack.services, settings=stack.services.settings.model_copy(update={"run_batch_size": 5})), {}
    )
    run = await stack.services.runs.start(WEB, expected_count=COUNT)
    bodies = await stack.run_messages()
    if duplicate == "page":
        await asyncio.gather(*(stack.services.run_worker.handle_message(bodies[0]) for _ in range(2)))
    else:
        await stack.services.run_worker.handle_message(bodies[0])
    batches = await stack.run_messages()
    for body in [*batches, *(batches if duplicate == "every batch" else [])]:
        await stack.services.run_worker.handle_message(body)
    if duplicate == "all messages":
        await asyncio.gather(*(stack.services.run_worker.handle_message(body) for body in [*bodies, *batches]))
    await stack.process_messages()
    seen = await stack.services.runs.get(run.id)
    assert (seen.state, seen.progress, seen.found) == ("done", Progress(done=COUNT), COUNT)
    entries, _ = await stack.services.ledger.page(run=run.id)
    assert {entry.attempts for entry in entries} == {1}, "no image was processed twice"


@pytest.mark.both
async def test_an_interrupted_page_puts_no_job_into_two_batches(stack: Stack) -> None:
    """The process is killed after the batches are stored; then one image is done and one is uploaded."""
    await upload_images(stack)
    run = await stack.services.runs.start(WEB, expected_count=COUNT)
    bodies = await stack.run_messages()
    before = await stack.services.run_store.get("run", _key(run.id))
    assert before is not None
    await stack.services.run_worker.handle_message(bodies[0])
    await stack.run_messages()
    await stack.services.dispatcher.handle_blob(stack.services.settings.input_container, "photos/000.jpg")
    await stack.upload("photos/late.jpg", image_bytes())
    now = await stack.services.run_store.get("run", _key(run.id))
    assert now is not None
    await stack.services.run_store.replace("run", _key(run.id), now, before.content)
    await stack.services.run_worker.handle_message(bodies[0])
    await stack.process_messages()
    seen = await stack.services.runs.get(run.id)
    assert (seen.state, seen.progress) == ("done", Progress(done=COUNT, skipped=1))


def _key(run_id: str) -> str:
    return runs.model.key_of(run_id)


async def test_resume_finishes_a_run_that_lost_its_messages(stack: Stack) -> None:
    await upload_images(stack)
    run = await stack.services.runs.start(WEB, expected_count=COUNT)
    assert await stack.run_messages()
    await stack.services.runs.resume(run.id)
    for _ in ("resend", "find"):
        (message,) = await stack.run_messages()
        await stack.services.run_worker.handle_message(message)
    assert await stack.run_messages()
    seen = await stack.services.runs.get(run.id)
    assert (seen.state, seen.progress) == ("working", Progress(left=COUNT))
    await stack.services.runs.resume(run.id)
    await stack.process_messages()
    assert (await stack.services.runs.get(run.id)).progress == Progress(done=COUNT)
    with pytest.raises(StateConflict):
        await stack.services.runs.resume(run.id)


async def test_a_run_of_many_batches_is_resumed_in_pieces(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its progress is read from summary rows, which agree with the batches at any time."""
    monkeypatch.setattr("pipeline.storage.run_store.BATCHES_PER_SUMMARY", 4)
    monkeypatch.setattr("pipeline.runs.lifecycle.MAX_RESENT_BATCHES", 3)
    services = memory.services
    object.__setattr__(services.settings, "run_batch_size", 1)
    await upload_images(memory)
    run = await services.runs.start(WEB, expected_count=COUNT)
    (find,) = await memory.run_messages()
    await services.run_worker.handle_message(find)
    (first, *_) = await memory.run_messages()
    await services.run_worker.handle_message(first)
    stored = [(batch.name, batch.outcomes) async for batch in services.run_store.batches(run.id)]
    assert len(stored) == COUNT
    assert [each async for each in services.run_store.outcomes(run.id)] == stored
    assert [each async for each in services.run_store.outcomes(run.id, stored[5][0])] == stored[6:]
    assert (await services.runs.get(run.id)).progress == Progress(done=1, left=COUNT - 1)
    await services.runs.resume(run.id)
    sent = []
    while messages := await memory.run_messages():
        sent.append(len(messages))
        for message in messages:
            if RunWork.parse(message).resend:
                await services.run_worker.handle_message(message)
    assert sent == [1, *[4] * ((COUNT - 2) // 3), (COUNT - 2) % 3 + 1]
    await services.runs.resume(run.id)
    await memory.process_messages()
    assert (await services.runs.get(run.id)).progress == Progress(done=COUNT)


@pytest.mark.both
async def test_a_cancelled_run_starts_no_job_until_it_is_resumed(stack: Stack) -> None:
    await upload_images(stack)
    run = await stack.services.runs.start(WEB, expected_count=COUNT)
    (find,) = await stack.run_messages()
    await stack.services.run_worker.handle_message(find)
    assert (await stack.services.runs.cancel(run.id)).state == "cancelled"
    await stack.process_messages()
    assert (await stack.services.runs.get(run.id)).progress == Progress(left=COUNT)
    assert await stack.outputs() == {}
    with pytest.raises(StateConflict, match="cancelled"):
        await stack.services.runs.cancel(run.id)
    await stack.services.runs.resume(run.id)
    await stack.process_messages()
    seen = await stack.services.runs.get(run.id)
    assert (seen.state, seen.progress) == ("done", Progress(done=COUNT))


async def test_a_run_takes_no_more_jobs_than_planned_until_it_is_resumed(stack: Stack) -> None:
    await upload_images(stack, 3)
    plan = await planned(stack)
    await upload_images(stack, 9)
    run = await stack.services.runs.start(plan_id=plan.id)
    await stack.process_messages()
    seen = await stack.services.runs.get(run.id)
    assert (seen.state, seen.progress, seen.more_due) == ("done", Progress(done=3), True)
    assert "3 jobs were planned" in seen.why
    await stack.services.runs.resume(run.id, max_jobs=9)
    await stack.process_messages()
    assert (await stack.services.runs.get(run.id)).progress == Progress(done=9)


async def test_caps_hold_for_plans_and_requests(environ: dict[str, str]) -> None:
    async with open_stack({**environ, "PIPELINE_RUN_MAX_JOBS": "5", "PIPELINE_RUN_MAX_COST": "0.05"}) as stack:
        await upload_images(stack, 2)
        plan = await planned(stack)
        with pytest.raises(RequestError, match="PIPELINE_RUN_MAX_JOBS"):
            await stack.services.runs.start(WEB, expected_count=6)
        with pytest.raises(RequestError, match="PIPELINE_RUN_MAX_COST"):
            await stack.services.runs.start(plan_id=plan.id)
        with pytest.raises(RequestError, match="cap of 1"):
            await stack.services.runs.start(plan_id=plan.id, max_jobs=1)
        assert await stack.run_messages() == []


async def test_an_impossible_start_fails_with_a_reason(stack: Stack) -> None:
    for options, kind in (
        ({}, "no_plan"),
        ({"plan_id": "20260101-000000-abcdef"}, "unknown_plan"),
        ({"plan_id": "ü"}, "unknown_plan"),
        ({"plan_id": "../x"}, "unknown_plan"),
        ({"selection": WEB.model_copy(update={"sample": 3}), "expected_count": 3}, "no_plan"),
    ):
        with pytest.raises(RequestError) as caught:
            await stack.services.runs.start(**options)  # type: ignore[arg-type]
        assert caught.value.kind == kind
    with pytest.raises(RequestError, match="no run"):
        await stack.services.runs.get("nonsense")


async def test_planning_continues_at_its_marker(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.runs.selection.PAGE_SIZE", 5)
    await upload_images(stack)
    plan = await stack.services.planner.plan(WEB, budget_seconds=0)
    assert (plan.complete, plan.sources, plan.jobs) == (False, 5, 5)
    with pytest.raises(StateConflict, match="not complete"):
        await stack.services.runs.start(plan_id=plan.id)
    while plan.marker:
        plan = await stack.services.planner.plan(WEB, marker=plan.marker, budget_seconds=0)
    assert (plan.sources, plan.jobs, plan.reasons) == (COUNT, COUNT, {"new": COUNT})


async def test_a_sample_is_spread_evenly_and_executed_exactly(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.runs.selection.PAGE_SIZE", 5)
    await upload_images(stack, 20)
    plan = await stack.services.planner.plan(WEB.model_copy(update={"sample": 4}), budget_seconds=0)
    while plan.marker:
        plan = await stack.services.planner.plan(WEB, marker=plan.marker, budget_seconds=0)
    assert (plan.sources, plan.jobs, plan.recipes) == (20, 4, {"web": 4})
    run = await stack.services.runs.start(plan_id=plan.id)
    await stack.process_messages()
    assert (await stack.services.runs.get(run.id)).progress == Progress(done=4)
    done = {entry.name for entry in (await stack.services.ledger.page(state="done"))[0]}
    assert done != {f"photos/{n:03d}.jpg" for n in range(4)}


async def test_deleted_renditions_are_created_again(stack: Stack) -> None:
    await upload_images(stack, 3)
    await ran(stack)
    path = next(iter(await stack.outputs()))
    await stack.services.account.container(stack.services.settings.output_container).delete_blob(path)
    plan = await planned(stack, reasons="missing")
    assert (plan.jobs, plan.reasons) == (1, {"missing": 1})
    await stack.services.runs.start(plan_id=plan.id)
    await stack.process_messages()
    assert path in await stack.outputs()


async def test_failures_are_selected_by_reason_age_and_prefix(stack: Stack) -> None:
    await stack.upload("photos/a/bad.jpg", b"not an image")
    await upload_images(stack, 2)
    await ran(stack)
    assert (await planned(stack)).jobs == 0
    assert (await planned(stack, reasons="failed")).jobs == 1
    assert (await planned(stack, reasons="all", prefix="photos/0")).reasons == {"done": 2}
    assert (await planned(stack, reasons="all", min_age=3600)).jobs == 0
    assert (await planned(stack, reasons="all", max_age=3600)).jobs == 3
    before = await stack.entry("web", "photos/a/bad.jpg")
    assert before is not None
    seen = await ran(stack, reasons="failed")
    assert seen.progress == Progress(failed=1)
    entry = await stack.entry("web", "photos/a/bad.jpg")
    assert entry is not None
    assert (entry.generation, entry.run) == (before.generation + 1, seen.id)


def test_an_invalid_selection_is_refused() -> None:
    for wrong in ({"reasons": "sometimes"}, {"sample": 0}, {"reasons": []}, {"min_age": -1}):
        with pytest.raises(ValidationError):
            runs.Selection.model_validate(wrong)


@pytest.mark.both
async def test_two_timers_start_one_scheduled_run(stack: Stack) -> None:
    await upload_images(stack, 2)
    started = await asyncio.gather(*(stack.services.schedule.start() for _ in range(4)))
    (run,) = [each for each in started if each]
    assert await stack.services.schedule.start() is None
    await stack.process_messages()
    listed, token = await stack.services.runs.list_runs()
    assert [(each.id, each.state, each.scheduled) for each in listed] == [(run.id, "done", True)]
    assert (listed[0].progress, token) == (Progress(done=2), "")


async def test_a_scheduled_run_that_lost_its_message_is_resumed(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    await upload_images(stack, 1)
    run = await stack.services.schedule.start()
    assert run is not None
    assert len(await stack.run_messages()) == 1  # the message is lost
    monkeypatch.setattr(scheduled_start, "DUPLICATE_TIMER_SECONDS", 0)
    assert await stack.services.schedule.start() is None
    await stack.process_messages()
    assert (await stack.services.runs.get(run.id)).progress == Progress(done=1)
    assert await stack.services.schedule.start() is not None


async def test_a_full_pool_leaves_jobs_for_the_next_message(environ: dict[str, str]) -> None:
    async with open_stack({**environ, "PIPELINE_SLOT_ACQUIRE_TIMEOUT": "0.5"}) as stack:
        await upload_images(stack, 2)
        names = await stack.services.slot_documents.list_free(2)
        held = [await stack.services.slot_documents.acquire(name) for name in names]
        run = await stack.services.runs.start(WEB, expected_count=2)
        (find,) = await stack.run_messages()
        await stack.services.run_worker.handle_message(find)
        (body,) = await stack.run_messages()
        await stack.services.run_worker.handle_message(body)
        assert (await stack.services.runs.get(run.id)).progress == Progress(left=2)
        for document in held:
            assert document is not None
            await document.release()
        await stack.process_messages()
        assert (await stack.services.runs.get(run.id)).progress == Progress(done=2)


async def test_an_unavailable_pool_is_retried_then_fails_the_jobs(environ: dict[str, str]) -> None:
    away = {
        "PIPELINE_POOL_ENDPOINT": "http://127.0.0.1:1",
        "PIPELINE_GIVE_UP_AFTER": "0.001",
        "PIPELINE_RETRY_MAX_ATTEMPTS": "1",
    }
    async with open_stack({**environ, **away}) as stack:
        await upload_images(stack, 2)
        run = await stack.services.runs.start(WEB, expected_count=2)
        await stack.process_messages()
        seen = await stack.services.runs.get(run.id)
        assert (seen.state, seen.progress) == ("done", Progress(failed=2))
        entry = await stack.entry("web", "photos/000.jpg")
        assert entry is not None
        assert (entry.state, entry.run, entry.error_kind) == ("failed", run.id, "pool_unreachable")


async def test_a_message_of_an_unknown_run_is_dropped(stack: Stack) -> None:
    await stack.services.run_worker.execute_batch(RunWork(run="20260101-000000-abcdef", batch="00000000-00000"))
    await stack.services.run_worker.handle_message(b'{"run": "20260101-000000-abcdef"}')
    with pytest.raises(RequestError):
        await stack.services.runs.resume("20260101-000000-abcdef")


def test_an_estimate_counts_session_hours_transactions_and_instances() -> None:
    settings = Settings(pool_endpoint="http://127.0.0.1:1", pool_max_sessions=10, session_max_jobs=200)
    known = Measured({"": Times(0.05, 0.5, 0.05)}, 100)
    taken = estimate(settings, Counter(web=100_000), Counter(web=200_000), known)
    assert 83 < taken.minutes < 90
    assert (taken.sessions, taken.session_hours) == (10, 550), "a new session after 200 jobs, and some to spare"
    assert taken.transactions == 200_000 + 300_000 + 2 * 3125 + (4 + 16) * 100 + 4 * 550
    assert taken.gb_seconds == pytest.approx(2 * 2 * taken.minutes * 60, abs=2), "two instances of 2 GB, all the time"
    money = taken.money
    assert money["sessions"] == pytest.approx(16.5)
    assert money["functions"] == pytest.approx(taken.gb_seconds * 0.000026, abs=1e-4)
    assert taken.total == pytest.approx(money["sessions"] + money["functions"] + money["storage"], abs=1e-3)
    assert estimate(settings, Counter(), Counter(), known).total == 0


def test_an_estimate_counts_the_sessions_of_each_isolation_level() -> None:
    settings = Settings(pool_endpoint="http://127.0.0.1:1", pool_max_sessions=10, session_max_jobs=200)
    known, file = Measured({"": Times(0.05, 0.5, 0.05)}, 100), recipes.loads(ISOLATED)
    levels = {recipe.name: recipe.isolation for recipe in file}

    def hours(sessions: int | None = None, **jobs: int) -> int:
        return estimate(settings, Counter(jobs), Counter(), known, levels, sessions).session_hours

    assert {name: hours(**{name: 10_000}) for name in levels} == {
        "web": 55,
        "tenants": 10_000,
        "alone": 10_000,
        "ours": 11,
    }
    assert hours(70, tenants=10_000) == 77
    assert hours(web=10_000, alone=100) == 173, "155, one more for each of two instances, and a tenth"


@pytest.mark.parametrize(("jobs", "at_once", "seconds"), [(1000, 1000, 50), (1000, 10, 200), (60_000, 1000, 3000)])
def test_a_duration_follows_the_bottleneck(jobs: int, at_once: int, seconds: float) -> None:
    pool = Pool(10, start=0, jobs=1_000_000)
    assert duration(jobs, pool, Times(0.1, 0.5, 0.1, whole=2), at_once) == pytest.approx(seconds, rel=0.02)


async def test_a_run_stops_on_other_recipe_versions_with_a_reason(environ: dict[str, str], recipe_file: Path) -> None:
    """Those who plan have read the file anew, the app has not: it would do the jobs as they were done before."""
    async with open_stack(environ) as old:
        await upload_images(old, 2)
        await ran(old)
        change_recipe(recipe_file)
        async with open_stack(environ) as new:
            plan = await planned(new)
            assert plan.reasons == {"recipe_changed": 2}
            run = await new.services.runs.start(plan_id=plan.id)
            await old.process_messages()
            seen = await new.services.runs.get(run.id)
            assert (seen.state, seen.progress) == ("stopped", Progress())
            assert "another version of the recipe web" in seen.why
            await new.services.runs.resume(run.id)
            for _ in ("resumption", "listing"):
                (message,) = await new.run_messages()
                await new.services.run_worker.handle_message(message)
            await old.process_messages()
            seen = await new.services.runs.get(run.id)
            assert (seen.state, seen.progress) == ("stopped", Progress(left=2)), "a batch, too"
            await new.services.runs.resume(run.id)
            await new.process_messages()
            seen = await new.services.runs.get(run.id)
            assert (seen.state, seen.progress) == ("done", Progress(done=2))
            assert (await old.services.planner.plan(runs.Selection(), marker=plan.id)).reasons == plan.reasons
            unfinished = await new.services.planner._create(runs.Selection())
            with pytest.raises(StateConflict, match="make a new plan"):
                await old.services.planner.plan(runs.Selection(), marker=unfinished.id)


async def test_a_run_with_an_unknown_recipe_stops_with_a_reason(environ: dict[str, str], recipe_file: Path) -> None:
    async with open_stack(environ) as old:
        await upload_images(old, 1)
        recipe_file.write_text(RECIPES.replace("  tutorial:", "  fresh:"))
        async with open_stack(environ) as new:
            run = await new.services.runs.start(runs.Selection(recipes=("fresh",)), expected_count=1)
            await old.process_messages()
            seen = await new.services.runs.get(run.id)
            assert (seen.state, "recipe fresh" in seen.why) == ("stopped", True)


async def test_a_dismissed_job_stays_dismissed_under_a_new_recipe(environ: dict[str, str], recipe_file: Path) -> None:
    async with open_stack(environ) as stack:
        await stack.upload("photos/bad.jpg", b"not an image")
        await ran(stack)
        entry = await stack.entry("web", "photos/bad.jpg")
        assert entry is not None
        await stack.services.jobs.dismiss(entry.key)
    change_recipe(recipe_file)
    async with open_stack(environ) as stack:
        assert (await planned(stack)).jobs == 0
        assert (await planned(stack, reasons="dismissed")).jobs == 1
