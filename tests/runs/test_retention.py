"""Retention deletes old bookkeeping and nothing else, in bounded steps that do not stop each other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import pytest_asyncio

from pipeline.errors import PipelineError, RequestError, StorageUnavailable
from pipeline.runs import lifecycle, model, planning, retention, retention_tasks, scheduled_start
from pipeline.runs.retention import Retention, RetentionTask
from pipeline.runs.selection import Selection
from pipeline.services import Services
from pipeline.storage import Entry, JobKey, Message, Version
from pipeline.testing import NO_RESPONSE, MemoryAccount
from tests.images import image_bytes
from tests.memory import Memory, open_in_memory
from tests.stack import RECIPES

WEB = Selection(recipes=("web",))
CROP = {"transforms": [{"crop": {"box": [0, 0, 10, 10]}}], "renditions": {"a": {"format": "png"}}}


@pytest_asyncio.fixture
async def stack() -> AsyncIterator[Memory]:
    async with open_in_memory(adhoc_recipes="on") as stack:
        yield stack


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (retention, retention_tasks):
        monkeypatch.setattr(module, "now", clock)
    return clock


class Clock:
    """The time of retention: `days` ahead."""

    days = 0.0

    def __call__(self) -> datetime:
        return model.now() + timedelta(days=self.days)


async def processed(stack: Memory, *names: str) -> None:
    """Upload sources and execute their jobs."""
    for name in names:
        await stack.upload(name, image_bytes(60, 40))
        await stack.services.dispatcher.handle_blob("input", name)


async def requested(stack: Memory, name: str, recipe: str = "tutorial") -> None:
    """Execute the job of an image that came with a request."""
    await stack.services.sources.put("uploads", name, image_bytes(500, 500), "image/jpeg")
    await stack.services.dispatcher.execute_message(Message(recipe=recipe, container="uploads", name=name))


async def listed(stack: Memory) -> list[str]:
    """Return the names of the sources of all jobs, by state and in the list of all jobs."""
    everything = {entry.name for entry in (await stack.services.ledger.page())[0]}
    for state in ("done", "failed", "superseded"):
        assert {entry.name for entry in (await stack.services.ledger.page(state=state))[0]} <= everything
    return sorted(everything)


async def adhoc_documents(services: Services) -> int:
    """Count the stored ad-hoc recipes."""
    blobs = services.account.container("pipeline").list_blobs(name_starts_with="adhoc/")
    return len([blob async for blob in blobs])


def with_tasks(services: Services, *chosen: RetentionTask, seconds: float = 1e9) -> Retention:
    """Return the retention with these tasks."""
    return replace(services.retention, tasks=chosen, seconds=seconds)


async def test_retention_deletes_old_plans_and_runs_but_no_jobs(
    stack: Memory, monkeypatch: pytest.MonkeyPatch, later: Clock
) -> None:
    await stack.upload("photos/a.jpg", image_bytes(60, 40))
    await stack.upload("photos/b.jpg", image_bytes(60, 40))
    services, table = stack.services, stack.services.run_store
    with monkeypatch.context() as then:
        for module in (lifecycle, planning, scheduled_start):
            then.setattr(module, "new_id", lambda: f"{model.now() - timedelta(days=91):%Y%m%d-%H%M%S}-abc123")
        old_plan = await services.planner.plan(WEB)
        old = await services.runs.start(WEB, expected_count=2)
        await stack.process_messages()
        assert (await services.runs.get(old.id)).state == "done"
        then.setattr(lifecycle, "new_id", lambda: f"{model.now() - timedelta(days=92):%Y%m%d-%H%M%S}-abc123")
        working = await services.runs.start(WEB, expected_count=2)
    new_plan = await services.planner.plan(WEB)
    new = await services.runs.start(WEB, expected_count=2)
    assert [batch async for batch in table.batches(old.id)]
    counts = await services.retention.apply()
    assert (counts["plans"], counts["runs"], sum(counts.values())) == (1, 1, 2)
    assert [batch async for batch in table.batches(old.id)] == []
    for gone in (services.runs.get(old.id), services.planner.get(old_plan.id)):
        with pytest.raises(RequestError):
            await gone
    assert (await services.runs.get(working.id)).state == "working"
    assert (await services.runs.get(new.id)).id == new.id
    assert (await services.planner.get(new_plan.id)).id == new_plan.id
    entry = await stack.entry("web", "photos/a.jpg")
    assert entry is not None
    assert (entry.state, entry.run) == ("done", old.id)
    later.days = 0.1
    assert sum((await services.retention.apply()).values()) == 0


async def test_a_run_with_many_batches_is_deleted_in_several_steps(
    stack: Memory, monkeypatch: pytest.MonkeyPatch, later: Clock
) -> None:
    monkeypatch.setattr(retention_tasks, "MAX_ROWS", 1)
    for name in ("a", "b"):
        await stack.upload(f"photos/{name}.jpg", image_bytes(60, 40))
    run = await stack.services.runs.start(WEB, expected_count=2)
    await stack.process_messages()
    assert (await stack.services.runs.get(run.id)).over
    later.days = 91
    step = stack.services.retention.tasks[2].step
    count, position = await step("")
    assert (count, bool(position)) == (0, True), "the run stays while it has batches"
    while position:
        deleted, position = await step(position)
        count += deleted
    assert count == 1
    with pytest.raises(RequestError):
        await stack.services.runs.get(run.id)


async def test_retention_deletes_metrics_after_their_period(stack: Memory, later: Clock) -> None:
    await processed(stack, "photos/a.jpg")
    figures, hour_ago = stack.services.ledger.metrics, model.now() - timedelta(hours=1)
    await figures.flush()
    await stack.services.retention.apply()
    assert sum(each.done for each in await figures.minutes(hour_ago)) == 1
    later.days = 5
    assert (await stack.services.retention.apply())["metrics"] > 0
    assert await figures.minutes(hour_ago) == []


async def test_jobs_that_no_run_includes_again_are_deleted_after_their_time(later: Clock) -> None:
    account = MemoryAccount()
    async with open_in_memory(account=account, adhoc_recipes="on") as stack:
        await processed(stack, "photos/kept.jpg", "photos/gone.jpg")
        await requested(stack, "x/http.jpg")
        await requested(stack, "x/adhoc.jpg", (await stack.services.adhoc_recipes.keep(CROP)).name)
        await account.container("input").delete_blob("photos/gone.jpg")
        former = Entry(
            JobKey.of("former", "input", "photos/kept.jpg"),
            "input",
            "photos/kept.jpg",
            "failed",
            Version("0x1", "hash"),
        )
        await stack.services.ledger.enqueue(former)
        everything = ["photos/gone.jpg", "photos/kept.jpg", "x/adhoc.jpg", "x/http.jpg"]
        assert await listed(stack) == everything
        later.days = 89
        assert (await stack.services.retention.apply())["jobs"] == 0
        assert await listed(stack) == everything
        later.days = 97
        assert (await stack.services.retention.apply())["jobs"] == 4
        assert await listed(stack) == ["photos/kept.jpg"]
        assert [key for key, _ in account.store.rows if "x/" in key[2] or "gone" in key[2]] == [], "no list row is left"
        assert len(await stack.outputs()) == 6, "renditions stay"


async def test_a_missing_container_deletes_no_job(stack: Memory, later: Clock) -> None:
    await processed(stack, "photos/a.jpg")
    await stack.account.container("input").delete_container()
    later.days = 91
    assert (await stack.services.retention.apply())["jobs"] == 0
    assert await stack.entry("web", "photos/a.jpg") is not None


@pytest.mark.parametrize("operation", ["rows ledger", "row.query ledger"])
async def test_a_fault_of_storage_does_not_end_the_round_of_a_week(stack: Memory, later: Clock, operation: str) -> None:
    await processed(stack, "photos/a.jpg")
    await stack.account.container("input").delete_blob("photos/a.jpg")
    later.days = 91
    jobs = replace(stack.services.retention, tasks=[stack.services.retention.tasks[4]])
    stack.account.fail(operation, 503 if "query" in operation else NO_RESPONSE, "ServerBusy")
    await jobs.apply()
    assert list(await jobs.apply()) == ["jobs"], "the round goes on"
    assert await listed(stack) == []


@pytest.mark.parametrize(
    ("status", "code"), [(409, "BlobUsesCustomerSpecifiedEncryption"), (400, "OutOfRangeInput"), (409, "SomethingNew")]
)
async def test_a_source_that_storage_refuses_stops_no_round(
    stack: Memory, later: Clock, status: int, code: str
) -> None:
    await processed(stack, "photos/a.jpg", "photos/b.jpg")
    await stack.account.container("input").delete_blob("photos/b.jpg")
    later.days = 91
    stack.account.fail("blob.head input/photos/a.jpg", status, code)
    assert (await stack.services.retention.apply())["jobs"] == 1
    assert await listed(stack) == ["photos/a.jpg"]


async def test_a_job_claimed_during_retention_stays(stack: Memory, later: Clock) -> None:
    await processed(stack, "photos/a.jpg", "photos/b.jpg")
    jobs = stack.services.retention.tasks[4].step.__self__.jobs  # type: ignore[attr-defined]
    later.days = 91
    pages = [await jobs.page(partition, later(), {}) for partition in JobKey.partitions("web", 2)]
    entries = [entry for page, _ in pages for entry in page]
    await stack.services.dispatcher.execute_message(
        Message(recipe="web", container="input", name="photos/a.jpg", again=True)
    )
    assert await jobs.delete(entries) == 1
    assert await listed(stack) == ["photos/a.jpg"]


async def test_unused_adhoc_recipes_are_deleted_after_their_jobs(stack: Memory, later: Clock) -> None:
    for size in range(1, 31):
        await stack.services.adhoc_recipes.keep({**CROP, "transforms": [{"crop": {"box": [0, 0, 100, size]}}]})
    await requested(stack, "x/a.jpg", (await stack.services.adhoc_recipes.keep(CROP)).name)
    later.days = 89
    await stack.services.retention.apply()
    assert await adhoc_documents(stack.services) == 31
    later.days = 90.1  # the next round of the jobs is not due yet
    assert (await stack.services.retention.apply())["ad-hoc recipes"] == 30
    assert await adhoc_documents(stack.services) == 1, "its job needs it for a retry"
    later.days = 97
    await stack.services.retention.apply()
    assert await adhoc_documents(stack.services) == 0


async def test_a_recipe_in_use_is_stored_again(stack: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = await stack.services.adhoc_recipes.keep(CROP)
    monkeypatch.setattr("pipeline.adhoc_recipes.KEEP_INTERVAL", timedelta(seconds=-1))
    operations = len(stack.account.operations)
    assert await stack.services.adhoc_recipes.keep(CROP) == recipe
    assert [op[0] for op in stack.account.operations[operations:]] == ["blob.put", "blob.get", "blob.put"]


async def test_a_failing_task_stops_no_other_and_starts_again(stack: Memory) -> None:
    async def fails(position: str) -> tuple[int, str]:
        raise ValueError(f"at {position!r}")

    async def works(position: str) -> tuple[int, str]:
        return 1, ""

    counts = await with_tasks(stack.services, RetentionTask("first", fails), RetentionTask("second", works)).apply()
    assert counts == {"first": 0, "second": 1}


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (None, ["", "1", "2", "3", "4", "5"]),
        (StorageUnavailable("away"), ["", "1", "1", "1"]),
        (PipelineError("invalid position"), ["", "1", "", "1"]),
    ],
)
async def test_a_task_is_bounded_in_time_and_continues_where_it_stopped(
    stack: Memory, later: Clock, error: PipelineError | None, seen: list[str]
) -> None:
    positions: list[str] = []

    async def step(position: str) -> tuple[int, str]:
        positions.append(position)
        if error and position:
            raise error
        return 10, str(int(position or 0) + 1)

    ticks = iter(range(100))
    limited = replace(with_tasks(stack.services, RetentionTask("s", step), seconds=2), clock=lambda: next(ticks))
    for later.days in (0, 1, 2):
        await limited.apply()
    assert positions[: len(seen)] == seen


async def test_a_round_waits_for_its_interval(stack: Memory, later: Clock) -> None:
    async def step(position: str) -> tuple[int, str]:
        return 1, ""

    weekly = with_tasks(stack.services, RetentionTask("s", step, timedelta(days=7)))
    counts = []
    for later.days in (0, 6.9, 7.1):
        counts.append(await weekly.apply())
    assert counts == [{"s": 1}, {}, {"s": 1}]


async def test_an_older_deployment_deletes_nothing() -> None:
    account = MemoryAccount()
    async with open_in_memory(RECIPES, account) as newer, open_in_memory(RECIPES, account) as older:
        recipes = newer.services.active_recipes
        assert await replace(recipes, deployment=2).publish()
        assert not await replace(recipes, deployment=1).publish()
        old = replace(older.services.retention, active=replace(recipes, deployment=1))
        assert await old.apply() == {}
        assert await replace(recipes, deployment=3).publish()
