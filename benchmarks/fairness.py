"""Fairness: parts of the pool's time when each kind of work has a process of its own, as on Azure."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from benchmarks.figures import NO_SPARES, Scale
from benchmarks.table import Row, at_most
from benchmarks.testbed import test_bed

SESSIONS = 8
PROCESSES = ("run", "run", "run", "upload", "interactive")
JOBS_PER_PROCESS = 24
JOB_SECONDS = 0.5
# Start of the processes, and moves of slots until each priority has its part.
SETTLE_SECONDS = 40
# Measured at 873ec20, which divided slots evenly between processes, on two busy cores.
BEFORE = {"interactive": "9.9%", "upload": "14.2%", "run": "54.5%", "together": "78.5%", "alone": "73.4%"}
CALLS_BEFORE = 1.23
# Least and most part of the time of all sessions.
GOALS = {"interactive": (0.50, 1.0), "upload": (0.10, 1.0), "run": (0.20, 0.30)}


async def fairness(scale: Scale) -> list[Row]:
    """Measure the parts of interactive, upload and run jobs in 8 sessions; then those of a run alone.

    Five processes have more jobs than there are sessions. After the first measurement, only the jobs of the run go on.
    """
    seconds = max(10, round(60 * scale.size))
    # One job at a time in a session, so that the time of jobs is the time of sessions.
    async with test_bed(SESSIONS, *NO_SPARES, PIPELINE_SESSION_CONCURRENCY="1") as stage:
        began = str(time.time() + SETTLE_SECONDS)
        options = (SETTLE_SECONDS, seconds, JOBS_PER_PROCESS, JOB_SECONDS)
        told = await asyncio.gather(
            *(stage.worker("hold", priority, *options, BENCHMARK_BEGINS=began) for priority in PROCESSES)
        )
    shared, alone, calls = Counter[str](), 0.0, 0
    for priority, one in zip(PROCESSES, told, strict=True):
        shared[priority] += one["held"][0] / (SESSIONS * seconds)
        alone += one["held"][1] / (SESSIONS * seconds) if priority == "run" else 0.0
        calls += one["calls"]
    together = sum(shared.values())
    return [
        *(_part(f"{each}, 3 run + 1 upload + 1 HTTP process", shared[each], each, *GOALS[each]) for each in GOALS),
        _part("all together", together, "together", 0.97),
        _part("run, when requests and uploads end", alone, "alone", 0.95),
        at_most("10 calls about slots, per process", calls / len(told) / seconds, CALLS_BEFORE, "/s", 1.0),
    ]


def _part(what: str, part: float, before: str, least: float, most: float = 1.0) -> Row:
    """Return the row of a part of the time of all sessions, with the part at 873ec20."""
    goal = f">= {least:.0%}" if most == 1.0 else f"{least:.0%} to {most:.0%}"
    return Row(f"10 {what}", f"{part:.1%}", BEFORE[before], "", goal, least <= part <= most)
