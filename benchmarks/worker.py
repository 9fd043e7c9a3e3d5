"""A process under measurement: it does jobs and tells, as one line of JSON, how long it took and what it cost.

    python -m benchmarks.worker pipeline|many|naive|calls|bare|fill|plan|run RECIPE FIRST COUNT AT_ONCE [WORK]

`pipeline` does the jobs as the function app does, `many` over the same few sources again and again; `naive` makes one
round trip after the other; `calls` makes the calls to storage and to the pool that the jobs need, and nothing else;
`bare` is Pillow alone, files to files. `fill` writes a ledger, `plan` plans a run, `run` does one. WORK is how many
seconds each image takes in a session longer than it would, waiting: so that two cores do not limit many sessions.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

Count = dict[str, Any]


def main() -> None:
    """Do what the arguments say."""
    kind, recipe, first, count, at_once, *rest = sys.argv[1:]
    work = float(rest[0]) if rest else 0.0
    numbers = range(int(first), int(first) + int(count))
    if kind == "bare":
        from benchmarks import bare

        print(json.dumps(measured_at_once(lambda: bare.renditions(Path(os.environ["SOURCE"]), recipe, numbers))))
        return
    from benchmarks import bulking, calls, naive, through

    doing = {
        "pipeline": through.pipeline,
        "many": through.many,
        "naive": naive.jobs,
        "calls": calls.jobs,
        "fill": bulking.fill,
        "plan": bulking.plan,
        "run": bulking.run,
    }
    print(json.dumps(asyncio.run(doing[kind](recipe, numbers, int(at_once), work))))


def measured_at_once(doing: Callable[[], None]) -> Count:
    """Seconds and processor seconds of something that is not asynchronous."""
    meter = Meter()
    doing()
    return meter.told()


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


if __name__ == "__main__":
    main()
