"""Retention deletes old metrics, plans and runs, and nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pipeline import runs
from pipeline.errors import RequestError
from pipeline.runs import lifecycle, planning
from pipeline.runs.model import now
from pipeline.runs.selection import Selection
from pipeline.services import Services
from tests.images import image_bytes
from tests.stack import Stack

WEB = Selection(recipes=("web",))


async def sweep(services: Services) -> int:
    """Apply retention as the timer does."""
    days = services.settings.run_retention_days
    return await runs.apply_retention(services.run_store, services.ledger.metrics, days)


@pytest.mark.both
async def test_retention_deletes_old_plans_and_runs_but_no_jobs(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    await stack.upload("photos/a.jpg", image_bytes(60, 40))
    await stack.upload("photos/b.jpg", image_bytes(60, 40))
    services, table = stack.services, stack.services.run_store
    with monkeypatch.context() as then:
        for module in (lifecycle, planning):
            then.setattr(module, "new_id", lambda: f"{now() - timedelta(days=91):%Y%m%d-%H%M%S}-abc123")
        old_plan = await services.planner.plan(WEB)
        old = await services.runs.start(WEB, expected_count=2)
        await stack.process_messages()
        assert (await services.runs.get(old.id)).state == "done"
        then.setattr(lifecycle, "new_id", lambda: f"{now() - timedelta(days=92):%Y%m%d-%H%M%S}-abc123")
        working = await services.runs.start(WEB, expected_count=2)
    new_plan = await services.planner.plan(WEB)
    new = await services.runs.start(WEB, expected_count=2)
    assert [batch async for batch in table.batches(old.id)]
    assert await sweep(services) == 2
    assert [batch async for batch in table.batches(old.id)] == []
    for gone in (services.runs.get(old.id), services.planner.get(old_plan.id)):
        with pytest.raises(RequestError):
            await gone
    assert (await services.runs.get(working.id)).state == "working"
    assert {(await services.runs.get(new.id)).id, (await services.planner.get(new_plan.id)).id} == {
        new.id,
        new_plan.id,
    }
    entry = await stack.entry("web", "photos/a.jpg")
    assert entry is not None
    assert (entry.state, entry.run) == ("done", old.id)
    assert await sweep(services) == 0


async def test_retention_deletes_metrics_after_their_period(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    await stack.upload("photos/a.jpg", image_bytes(60, 40))
    await stack.services.runs.start(WEB, expected_count=1)
    await stack.process_messages()
    figures = stack.services.ledger.metrics
    await figures.flush()
    await sweep(stack.services)
    hour_ago = now() - timedelta(hours=1)
    assert sum(each.done for each in await figures.minutes(hour_ago)) == 1
    monkeypatch.setattr("pipeline.runs.retention.MAX_PERIOD", timedelta(hours=-1))
    await sweep(stack.services)
    assert await figures.minutes(hour_ago) == []
