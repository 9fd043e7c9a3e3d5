"""Meter of a process: wall time, processor time and memory of a piece of work."""

from __future__ import annotations

import asyncio
import resource
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

Measurement = dict[str, Any]


class Meter:
    """Meter of this process from its creation on: wall time, processor time, and peak memory if `memory` is set."""

    def __init__(self, *, memory: bool = False) -> None:
        """Start the meter; watch the memory every 20 ms if `memory` is set."""
        self._wall, self._cpu, self._idle = time.perf_counter(), self._seconds(), self.memory()
        self._peak = self._idle
        self._watching = memory
        if memory:
            threading.Thread(target=self._watch, daemon=True).start()

    def memory(self) -> int:
        """Return the resident memory in bytes."""
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    def result(self, **more: Any) -> Measurement:  # noqa: ANN401 - JSON
        """Return seconds, processor seconds (`cpu`), memory growth in bytes and the start time, with further fields."""
        self._watching = False
        wall, cpu = time.perf_counter() - self._wall, self._seconds() - self._cpu
        return {"seconds": wall, "cpu": cpu, "grown": self._peak - self._idle, "began": time.time() - wall, **more}

    def _seconds(self) -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    def _watch(self) -> None:
        while self._watching:
            self._peak = max(self._peak, self.memory())
            time.sleep(0.02)


async def execute_concurrently(numbers: range, at_once: int, job: Callable[[int], Awaitable[None]]) -> None:
    """Execute a job for each number, at most `at_once` at a time."""
    left = iter(numbers)

    async def worker() -> None:
        for number in left:
            await job(number)

    await asyncio.gather(*(worker() for _ in range(at_once)))
