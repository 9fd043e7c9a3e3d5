"""Meter of a process: wall time, processor time and memory of a piece of work."""

from __future__ import annotations

import asyncio
import resource
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

Count = dict[str, Any]


class Meter:
    """This process's time, processor time and memory, from now on."""

    def __init__(self, *, memory: bool = False) -> None:
        self._wall, self._cpu, self._idle = time.perf_counter(), self._seconds(), self.memory()
        self._peak = self._idle
        self._watching = memory
        if memory:
            threading.Thread(target=self._watch, daemon=True).start()

    def memory(self) -> int:
        """Bytes that this process holds now."""
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    def told(self, **more: Any) -> Count:  # noqa: ANN401 - JSON
        """What it came to, with more to tell."""
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


async def at_a_time(numbers: range, at_once: int, job: Callable[[int], Awaitable[None]]) -> None:
    """A job for every number, so many at once."""
    left = iter(numbers)

    async def worker() -> None:
        for number in left:
            await job(number)

    await asyncio.gather(*(worker() for _ in range(at_once)))
