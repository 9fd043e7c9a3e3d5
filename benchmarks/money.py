"""Money: estimates of generated runs beside the session-hours that they start, in virtual time."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import ceil

from benchmarks.figures import Scale
from benchmarks.table import Row
from pipeline.testing.costly_runs import CostlyRun
from pipeline.testing.virtual_time import run_in_virtual_time

# The bounds hold from this many counted session-hours on.
LEAST_HOURS = 50
MAX_RATIO = 1.5
RUNS = 12
KINDS: dict[str, tuple[str, ...]] = {
    "tenants": ("tenant",),
    "single": ("single",),
    "shared": ("shared",),
    "trusted": ("trusted",),
    "mixed": ("shared", "trusted", "tenant", "single"),
}


@dataclass(frozen=True)
class Outcome:
    """Estimated and counted session-hours of one run, and the seed of its workload."""

    seed: int
    estimated: int
    counted: int

    @property
    def ratio(self) -> float:
        """The estimate as a multiple of the counted hours."""
        return self.estimated / self.counted


def workload(kind: str, rng: random.Random, size: float = 1) -> CostlyRun:
    """Generate a run: folders of very different sizes, sources without a folder, sizes of pool and sessions.

    `size` scales the number of sources. A small run may start fewer hours than the bounds hold for.
    """
    levels = KINDS[kind]
    sessions = rng.choice([5, 10, 20, 50, 100])
    jobs = rng.choice([10, 20, 50])
    if kind == "trusted":  # its sessions serve thousands of jobs, so that few are billed
        sessions = rng.choice([60, 100])
    count = min(300, 100 * len(levels)) if "single" in levels else max(800, (LEAST_HOURS + 10) * jobs)
    recipes = "".join(
        f"  {level}: {{isolation: {level}, match: {{include: ['**']}}, renditions: {{out: {{format: png}}}}}}\n"
        for level in levels
    )
    return CostlyRun(
        f"recipes:\n{recipes}",
        _names(max(20, round(count * size)), rng),
        seconds=rng.choice([0.1, 0.4, 2.0]),
        processes=max(ceil(sessions / 90), rng.randint(1, ceil(sessions * 2 / 16))),
        settings={"pool_max_sessions": sessions, "session_max_jobs": jobs},
    )


def _names(count: int, rng: random.Random) -> list[str]:
    """Generate names: folders with sizes of a heavy-tailed distribution, and some sources without one."""
    names: list[str] = []
    at_root, tail = rng.choice([0.0, 0.1, 0.5]), rng.choice([0.6, 1.0, 2.0])
    while len(names) < count:
        if rng.random() < at_root:
            names.append(f"{rng.randrange(10**9):09}.jpg")
            continue
        folder, size = f"{rng.randrange(10**9):09}", max(1, int(rng.paretovariate(tail)))
        names += [f"{folder}/{number:05}.jpg" for number in range(min(size, count - len(names)))]
    return names


def outcome(kind: str, seed: int, size: float = 1) -> Outcome:
    """Plan and execute one generated run in virtual time."""
    plan, run, counted = run_in_virtual_time(workload(kind, random.Random(seed), size).execute())
    if run.state != "done":
        raise AssertionError(f"the run of seed {seed} is {run.state}: {run.why}")
    return Outcome(seed, plan.estimate.session_hours, counted)


async def money(scale: Scale) -> list[Row]:
    """Compare estimates of generated runs with counted session-hours; each time, the workloads are other ones."""
    rows = []
    count = max(2, round(RUNS * scale.size))
    for kind in KINDS:
        seeds = [secrets.randbelow(10**9) for _ in range(count)]
        outcomes = _in_processes(partial(outcome, kind), seeds)
        rows.append(_row(kind, [each for each in outcomes if each.counted >= LEAST_HOURS]))
    return rows


def _in_processes(work: Callable[[int], Outcome], seeds: list[int]) -> list[Outcome]:
    """Work in processes: an event loop of virtual time cannot run inside another one."""
    with ProcessPoolExecutor(2) as pool:
        return list(pool.map(work, seeds))


def _row(kind: str, outcomes: list[Outcome]) -> Row:
    goal = f"1 to {MAX_RATIO:g} x counted"
    if not outcomes:
        return Row(f"estimate of session-hours, {kind}", "not measured", "", "", goal, met=False)
    lowest, highest = (choose(outcomes, key=lambda each: each.ratio) for choose in (min, max))
    met = lowest.ratio >= 1 and highest.ratio <= MAX_RATIO
    what = f"estimate of session-hours, {len(outcomes)} runs, {kind}"
    if not met:
        worst = lowest if lowest.ratio < 1 else highest
        what = f"{what}, seed {worst.seed}"
    counted, estimated = (sum(getattr(each, name) for each in outcomes) for name in ("counted", "estimated"))
    return Row(what, f"{estimated:,} h", f"{counted:,} h", f"{lowest.ratio:.2f}-{highest.ratio:.2f}", goal, met)
