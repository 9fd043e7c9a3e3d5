"""What nobody looks at any more is forgotten, and nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pipeline import runs
from pipeline.errors import RequestError
from pipeline.runs import lifecycle, planning
from pipeline.runs.model import now
from pipeline.runs.selection import Selection
from tests.images import picture
from tests.stack import Stack

WEB = Selection(recipes=("web",))


async def test_plans_and_runs_of_long_ago_are_forgotten_with_their_batches_and_jobs_stay(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stack.drop("photos/a.jpg", picture(60, 40))
    await stack.drop("photos/b.jpg", picture(60, 40))
    services, table = stack.services, stack.services.run_store
    with monkeypatch.context() as then:
        for module in (lifecycle, planning):
            then.setattr(module, "new_id", lambda: f"{now() - timedelta(days=91):%Y%m%d-%H%M%S}-abc123")
        old_plan = await runs.plan(services, WEB)
        old = await runs.start(services, WEB, expected_count=2)
        await stack.work_off()
        assert (await runs.get(services, old.id)).state == "done"
        then.setattr(lifecycle, "new_id", lambda: f"{now() - timedelta(days=92):%Y%m%d-%H%M%S}-abc123")
        working = await runs.start(services, WEB, expected_count=2)
    new_plan = await runs.plan(services, WEB)
    new = await runs.start(services, WEB, expected_count=2)
    assert [batch async for batch in table.batches(old.id)]
    assert await runs.apply_retention(services) == 2
    assert [batch async for batch in table.batches(old.id)] == []
    for gone in (runs.get(services, old.id), runs.get_plan(services, old_plan.id)):
        with pytest.raises(RequestError):
            await gone
    assert (await runs.get(services, working.id)).state == "working"
    assert {(await runs.get(services, new.id)).id, (await runs.get_plan(services, new_plan.id)).id} == {
        new.id,
        new_plan.id,
    }
    entry = await stack.entry("web", "photos/a.jpg")
    assert entry is not None
    assert (entry.state, entry.run) == ("done", old.id)
    assert await runs.apply_retention(services) == 0


async def test_figures_are_forgotten_when_nobody_can_ask_for_them(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stack.drop("photos/a.jpg", picture(60, 40))
    await runs.start(stack.services, WEB, expected_count=1)
    await stack.work_off()
    figures = stack.services.ledger.stats
    await figures.flush()
    await runs.apply_retention(stack.services)
    hour_ago = now() - timedelta(hours=1)
    assert sum(each.done for each in await figures.minutes(hour_ago)) == 1
    monkeypatch.setattr("pipeline.runs.retention.LONGEST", timedelta(hours=-1))
    await runs.apply_retention(stack.services)
    assert await figures.minutes(hour_ago) == []
