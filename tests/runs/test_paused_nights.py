"""Scheduled runs during a pause: they leave the jobs whose events and messages wait for its end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from azure.data.tables import UpdateMode

from pipeline.jobs.pauses import Work
from pipeline.runs import Run, Selection
from pipeline.storage import Message
from pipeline.testing.nights import pass_day
from tests.images import image_bytes
from tests.memory import Memory, open_in_memory
from tests.runs.nights import night
from tests.stack import RECIPES

DONE, WAITING, LOST = "photos/done.jpg", "photos/waiting.jpg", "photos/lost.jpg"
OTHER_RECIPES = RECIPES.replace("quality: 80", "quality: 70")


async def upload(memory: Memory, *names: str) -> None:
    """Upload images and deliver their events."""
    for name in names:
        await memory.upload(name, image_bytes(60, 40))
        await memory.services.dispatcher.handle_blob("input", name)


async def states(memory: Memory, *names: str) -> list[str | None]:
    rows = [await memory.entry("web", name) for name in names]
    return [row.state if row else None for row in rows]


async def work(memory: Memory) -> None:
    """Process the job queue until it is empty."""
    memory.account.advance(4000)
    for message in await memory.take():
        await memory.run_queued(message)


async def test_a_night_leaves_paused_uploads_and_does_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    async with open_in_memory() as memory:
        await upload(memory, DONE)
    async with open_in_memory(OTHER_RECIPES, memory.account, memory.pool) as memory:
        pauses = memory.services.admission.pauses
        await pauses.pause(["uploads"])
        await upload(memory, WAITING)
        await memory.upload(LOST, image_bytes(60, 40))  # its event was lost
        for _ in range(2):
            await night(memory)
        assert await states(memory, DONE, WAITING, LOST) == ["done", "queued", None]
        done = await memory.entry("web", DONE)
        assert done is not None
        assert done.version.recipe_hash == memory.services.recipes.get("web").hash, "the run renders changed recipes"
        assert "event=run.paused_jobs_left" in caplog.text
        assert await memory.waiting_messages() == 1
        await pauses.resume(["uploads"])
        await work(memory)
        assert await states(memory, WAITING, LOST) == ["done", None]
        await night(memory)
        assert await states(memory, LOST) == ["done"]


async def test_a_pause_during_the_night_holds_for_uploads_in_batches(memory: Memory) -> None:
    """They were found before the pause. The run ends all the same: the next one is not blocked."""
    await memory.upload(LOST, image_bytes(60, 40))
    await pass_day(memory.services)
    run = await memory.services.schedule.start()
    assert run
    for body in await memory.run_messages():
        await memory.services.run_worker.handle_message(body)
    await memory.services.admission.pauses.pause(["uploads"])
    await memory.process_messages()
    ended = await memory.services.runs.get(run.id)
    assert (ended.state, ended.progress.skipped) == ("done", 1)
    assert await states(memory, LOST) == [None]
    await memory.services.admission.pauses.resume(["uploads"])
    await night(memory)
    assert await states(memory, LOST) == ["done"]


@pytest.mark.parametrize(("paused", "state"), [(["requests"], "queued"), (["uploads"], "queued"), ([], "done")])
async def test_a_job_that_waits_for_days_under_a_pause_is_not_unfinished(
    memory: Memory, paused: Sequence[Work], state: str
) -> None:
    """After a day in the queue, a job counts as unfinished."""
    await memory.upload(WAITING, image_bytes(60, 40))
    await memory.services.admission.pauses.pause(paused)
    await memory.services.jobs.submit(Message(recipe="web", container="input", name=WAITING, requested=True))
    await age_queued(memory)
    await night(memory)
    assert await states(memory, WAITING) == [state]


async def age_queued(memory: Memory) -> None:
    """Let the job of WAITING be queued for two days."""
    entry = await memory.entry("web", WAITING)
    assert entry is not None
    old = {"PartitionKey": entry.key.partition(2), "RowKey": entry.key.row, "since": entry.since - timedelta(days=2)}
    await memory.account.table("ledger").submit_transaction([("update", old, {"mode": UpdateMode.MERGE})])


async def test_a_run_that_a_user_starts_takes_paused_uploads(memory: Memory) -> None:
    await memory.services.admission.pauses.pause(["uploads"])
    await memory.upload(LOST, image_bytes(60, 40))
    run: Run = await memory.services.runs.start(Selection(), expected_count=1)
    await memory.process_messages()
    assert (await memory.services.runs.get(run.id)).progress.done == 1
