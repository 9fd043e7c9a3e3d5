"""Runs in the console."""

from __future__ import annotations

from pipeline.runs import Selection
from tests.console.client import console_in_memory, text_of
from tests.images import image_bytes
from tests.stack import RECIPES


async def test_a_run_that_leaves_due_jobs_says_so() -> None:
    async with console_in_memory(RECIPES) as (client, memory):
        for number in range(2):
            await memory.upload(f"photos/{number}.jpg", image_bytes(60, 40, seed=number))
        run = await memory.services.runs.start(Selection(recipes=("web",)), expected_count=1)
        assert "more is due" not in text_of(await client.get(f"/runs/{run.id}"))
        await memory.process_messages()
        assert "more is due: 1 jobs were planned" in text_of(await client.get(f"/runs/{run.id}"))
        assert "more is due" in text_of(await client.get("/runs"))
