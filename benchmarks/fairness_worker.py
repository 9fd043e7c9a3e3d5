"""Worker that holds sessions: jobs of one priority, each of a fixed short duration."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from typing import cast

from benchmarks.meter import Measurement
from benchmarks.run_worker import Calls, open_services
from pipeline.errors import PoolFull
from pipeline.pool.client import single_chunk
from pipeline.pool.requests import Priority


async def hold(priority: str, numbers: range, at_once: int, work: float) -> Measurement:
    """Run jobs one after another, `at_once` of them, and return the seconds for which they held sessions.

    There are two windows of `len(numbers)` seconds. The first begins at BENCHMARK_BEGINS (seconds since 1970); the
    second, `numbers.start` seconds after the first, has jobs of runs only. A job sends one byte to its session and
    holds it for `work` seconds. `calls` are the calls to storage about slots in the first window.
    """
    begin, seconds = float(os.environ["BENCHMARK_BEGINS"]), len(numbers)
    windows = [(begin, begin + seconds), (begin + seconds + numbers.start, begin + 2 * seconds + numbers.start)]
    stop = windows[1][1] if priority == "run" else windows[0][1]
    held, counter = [0.0, 0.0], Calls()
    async with open_services() as services:

        async def jobs() -> None:
            while time.time() < stop:
                with suppress(PoolFull):
                    async with services.scheduler.acquire_slot(priority=cast("Priority", priority)) as session:
                        since = time.time()
                        await session.upload("byte", 1, lambda: single_chunk(b"x"))
                        await asyncio.sleep(work)
                    for number, (start, end) in enumerate(windows):
                        held[number] += max(0.0, min(end, time.time()) - max(start, since))

        running = [asyncio.create_task(jobs()) for _ in range(at_once)]
        await asyncio.sleep(begin - time.time())
        with counter:
            await asyncio.sleep(seconds)
        await asyncio.gather(*running)
        await asyncio.sleep(max(0.0, windows[1][1] - time.time()))
    return {"held": held, "calls": counter.counts["slots"] + counter.counts["leases"]}
