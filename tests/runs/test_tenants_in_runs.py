"""Tenants in runs: plans count them and their sessions, and a batch keeps the jobs of a tenant together."""

from __future__ import annotations

import pytest

from pipeline.runs import Selection
from pipeline.runs import selection as selection_module
from pipeline.runs.model import Plan
from pipeline.runs.tenants import merged_tenants
from tests.memory import Memory, open_in_memory

RECIPES = """
recipes:
  one: {isolation: tenant, match: {include: ["**"]}, renditions: {out: {format: png}}}
  two: {isolation: tenant, match: {include: ["b/**"]}, renditions: {out: {format: png}}}
  web: {match: {include: ["**"]}, renditions: {out: {format: png}}}
  own: {isolation: single, match: {include: ["c/**"]}, renditions: {out: {format: png}}}
"""


async def upload(memory: Memory, **folders: int) -> None:
    """Upload a number of sources into each folder; `root` has none."""
    for folder, count in folders.items():
        for number in range(count):
            name = f"{number:03}.png" if folder == "root" else f"{folder}/{number:03}.png"
            await memory.upload(name, b"no image")


@pytest.mark.parametrize("page", [1000, 4])
async def test_a_plan_counts_tenants_and_single_jobs(page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection_module, "PAGE_SIZE", page)
    async with open_in_memory(RECIPES, session_max_jobs=10) as memory:
        await upload(memory, root=5, a=3, b=8, c=2)
        plan = await memory.services.planner.plan(Selection())
        assert (plan.jobs, plan.tenants, plan.single_jobs) == (18 + 8 + 18 + 2, 4, 2)
        if page == 1000:
            assert plan.tenant_sessions == 1 + 1 + 2 + 1, "the 16 jobs of b need two sessions of 10"
        assert plan.estimate.session_hours >= plan.tenant_sessions + plan.single_jobs
        assert "tenant_sessions" not in plan.as_json()


def test_parts_of_a_plan_count_a_tenant_once() -> None:
    def part(tenants: int, first: str, last: list[str]) -> Plan:
        return Plan(
            id="1", selection=Selection(), tenants=tenants, tenant_sessions=5, first_tenant=first, last_tenants=last
        )

    root = "tenant:folder:"
    parts = [part(3, "a/", ["b/", root]), part(0, "", []), part(3, "b/", ["c/", root]), part(1, "d/", ["d/"])]
    assert merged_tenants(parts) == {"tenants": 5, "tenant_sessions": 20}


async def test_a_batch_keeps_the_jobs_of_a_tenant_together() -> None:
    async with open_in_memory(RECIPES, session_max_jobs=40, run_batch_size=6, pool_max_sessions=2) as memory:
        await upload(memory, root=7, a=20, b=3, c=2)
        run = await memory.services.runs.start(Selection(), expected_count=60)
        (find,) = await memory.run_messages()
        await memory.services.run_worker.handle_message(find)
        batches = [batch async for batch in memory.services.run_store.batches(run.id)]
        tenants = [
            {item.name.rpartition("/")[0] for item in each.items if item.recipe in ("one", "two")} for each in batches
        ]
        for tenant in ("", "a", "b", "c"):
            assert sum(tenant in each for each in tenants) == 1, f"the jobs of {tenant or 'the root'} are divided"
        assert max(len(batch.items) for batch in batches) == 20
        mixed = [batch for batch in batches if {item.recipe for item in batch.items} <= {"web", "own"}]
        assert all(len(batch.items) <= 6 for batch in mixed)
