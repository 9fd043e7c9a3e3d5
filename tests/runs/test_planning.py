"""Plans by several processes: each source counts once, whenever a process ends."""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from pipeline.errors import StorageUnavailable
from pipeline.runs import Plan, Selection, plan_parts, planning, selection
from pipeline.runs.name_ranges import middle_name
from pipeline.runs.plan_parts import PlanParts
from pipeline.runs.planning import RunPlanner
from pipeline.services import Services
from pipeline.storage import RunWork
from pipeline.testing import MemoryAccount, memory_services, memory_settings
from pipeline.testing.library import SimulatedLibrary
from tests.images import image_bytes
from tests.memory import Memory

RECIPES = "recipes: {web: {match: {include: ['photos/**']}, renditions: {small: {format: webp}}}}"
STALE = Selection(recipes=("web",), reasons=("recipe_changed",))
COUNT = 234


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pages hold ten sources."""
    monkeypatch.setattr(selection, "PAGE_SIZE", 10)
    monkeypatch.setattr(planning, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(plan_parts, "CLAIM_SECONDS", 0.2)


@pytest.fixture
async def processes() -> AsyncIterator[list[tuple[Services, RunPlanner]]]:
    """Three processes that plan a library of sources."""
    account = MemoryAccount()
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(3):
            services = await stack.enter_async_context(memory_services(memory_settings(), RECIPES, account=account))
            finder = SimulatedLibrary(services.recipes, COUNT).finder
            planner = RunPlanner(services.run_store, finder, services.estimator, services.run_queue)
            found.append((services, planner))
        yield found


async def help_requests(services: Services) -> list[RunWork]:
    """Take the messages out of the run queue."""
    queue, found = services.account.queue(services.settings.run_queue), list[RunWork]()
    async for message in queue.receive_messages():
        await queue.delete_message(message)
        found.append(RunWork.parse(message.content))
    return found


def counts(plan: Plan) -> tuple[bool, int, int, dict[Any, int], dict[str, int]]:
    return plan.complete, plan.sources, plan.jobs, plan.reasons, plan.renditions


ALL = (True, COUNT, COUNT, {"recipe_changed": COUNT}, {"web": COUNT})


async def test_processes_share_a_plan(processes: list[tuple[Services, RunPlanner]]) -> None:
    (services, first), *others = processes
    begun = await first.plan(STALE, budget_seconds=0)
    assert (begun.complete, begun.sources) == (False, 10)
    messages = await help_requests(services)
    assert [(each.run, each.plan) for each in messages] == [(begun.id, True)] * planning.HELPERS
    plan, *_ = await asyncio.gather(
        first.plan(STALE, marker=begun.marker), *(planner.help(begun.id) for _, planner in others)
    )
    assert counts(plan) == ALL
    assert counts(await first.get(plan.id)) == ALL
    parts = await PlanParts(services.run_store, first.finder).load(plan)
    assert len(parts) > 2
    assert min(each.part.counts.sources for each in parts) > 0


async def test_a_plan_is_exact_whenever_its_processes_fail(processes: list[tuple[Services, RunPlanner]]) -> None:
    """Writes fail before or after they are stored; the host delivers messages again."""
    chance = random.Random()
    services, first = processes[0]
    begun = await first.plan(STALE, budget_seconds=0)

    async def work(planner: RunPlanner) -> None:
        for _ in range(2000):
            try:
                if (await planner.plan(STALE, marker=begun.id, budget_seconds=0)).complete:
                    return
            except StorageUnavailable:
                await asyncio.sleep(0.01)
        raise AssertionError("the plan does not end")

    for services, _ in processes:
        _fail_at_random(services, chance)
    await asyncio.gather(*(work(planner) for _, planner in processes))
    assert counts(await first.get(begun.id)) == ALL


def _fail_at_random(services: Services, chance: random.Random) -> None:
    store = services.run_store
    for name in ("create", "replace"):
        write = getattr(store, name)

        async def failing(*args: Any, write: Any = write) -> Any:
            if chance.random() < 0.1:
                raise StorageUnavailable("before the write")
            written = await write(*args)
            await asyncio.sleep(0)
            if chance.random() < 0.1:
                raise StorageUnavailable("after the write")
            return written

        setattr(store, name, failing)


async def test_a_sample_over_parts_is_that_of_one_process(processes: list[tuple[Services, RunPlanner]]) -> None:
    sample = STALE.model_copy(update={"sample": 20})
    (_, first), *others = processes
    alone = await first.plan(sample)
    begun = await first.plan(sample, budget_seconds=0)
    plan, *_ = await asyncio.gather(
        first.plan(sample, marker=begun.id), *(planner.help(begun.id) for _, planner in others)
    )
    assert (counts(plan), plan.last_rank) == (counts(alone), alone.last_rank)
    assert plan.jobs == 20


async def test_a_plan_of_one_page_calls_no_helpers(memory: Memory) -> None:
    await memory.upload("photos/a.jpg", image_bytes(60, 40))
    assert (await memory.services.planner.plan(Selection())).complete
    assert await memory.run_messages() == []


async def test_a_plan_counts_sources_written_while_it_is_made(memory: Memory) -> None:
    for number in range(12):
        await memory.upload(f"photos/{number:02d}.jpg", image_bytes(60, 40))
    begun = await memory.services.planner.plan(Selection(), budget_seconds=0)
    memory.account.advance(2)
    await memory.upload("photos/99.jpg", image_bytes(60, 40))
    plan = await memory.services.planner.plan(Selection(), marker=begun.id)
    assert (plan.sources, plan.written) == (13, 1)


def _names(kind: str, chance: random.Random) -> list[str]:
    if kind == "flat":
        return [f"photos/{number:06d}.jpg" for number in range(chance.randrange(1, 300))]
    if kind == "folders":
        return [f"{chance.randrange(2000, 2025)}/{chance.randrange(12):02d}/{each}.jpg" for each in range(300)]
    return ["".join(chance.choices("ab/-é~.0日\U0001f600", k=chance.randint(1, 8))) for _ in range(300)]


@pytest.mark.parametrize("kind", ["flat", "folders", "random"])
async def test_a_middle_name_lies_between(kind: str) -> None:
    chance = random.Random()
    for _ in range(30):
        names = sorted({*_names(kind, chance)})
        after, end = chance.choice(names), chance.choice(["", chance.choice(names)])

        async def first_name(name: str, names: list[str] = names) -> str:
            return next(iter(names[bisect_left(names, name) :][:1]), "")

        middle = await middle_name(first_name, after, end)
        between = names[bisect_right(names, after) : bisect_left(names, end) if end else None]
        assert not middle or (after < middle and (middle < end or not end) and between[-1] >= middle)
        if kind != "random" and len(between) > 50:
            assert middle
