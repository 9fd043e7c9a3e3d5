"""Background tasks end together with their set."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from pipeline.concurrency import BackgroundTasks


async def test_a_task_that_a_cancelled_task_starts_is_cancelled_too() -> None:
    """The last job of a stopping process starts to recycle its session, beside the return of the slot."""
    tasks = BackgroundTasks()
    ended: list[str] = []

    async def recycling() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("recycling")

    async def job() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        tasks.spawn(recycling())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        ended.append("job")

    tasks.spawn(job())
    await asyncio.sleep(0)
    await tasks.cancel()
    assert ended == ["job", "recycling"]
