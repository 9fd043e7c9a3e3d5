"""Run the benchmarks and print one table: `python -m benchmarks [FIGURE …]`. Figures are ratios within one run."""

from __future__ import annotations

import argparse
import asyncio
import os
import time

from benchmarks import figures
from benchmarks.counted import counted
from benchmarks.fairness import fairness
from benchmarks.figures import Scale
from benchmarks.latency import latency
from benchmarks.memory import memory
from benchmarks.money import money
from benchmarks.runs import counted_run, nights, planning
from benchmarks.table import HEAD
from benchmarks.throughput import throughput

FIGURES = {
    "heavy": figures.local_heavy,
    "light": figures.local_light,
    "far": figures.far,
    "scaling": figures.scaling,
    "memory": memory,
    "latency": latency,
    "counted": counted,
    "planning": planning,
    "nights": nights,
    "run": counted_run,
    "money": money,
    "fairness": fairness,
    "throughput": throughput,
}


async def measure(wanted: list[str], scale: Scale) -> bool:
    """Print each row as soon as it is measured. Return whether all goals are met."""
    print(HEAD)
    held = True
    for figure in wanted:
        for row in await FIGURES[figure](scale):
            print(row, flush=True)
            held &= row.met
    return held


def main() -> None:
    """Parse the command line, measure, and exit with 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("figure", nargs="*", help=f"figures to measure (default: all): {', '.join(FIGURES)}")
    parser.add_argument("--size", type=float, default=1.0, help="scale of the load: 1 as defined, 0.1 for a quick look")
    parser.add_argument("--rounds", type=int, default=2, help="rounds in which the compared programs take turns")
    options = parser.parse_args()
    unknown = [name for name in options.figure if name not in FIGURES]
    if unknown:
        parser.error(f"unknown figure {', '.join(unknown)}; known: {', '.join(FIGURES)}")
    before, started = os.getloadavg()[0], time.monotonic()
    held = asyncio.run(measure(options.figure or list(FIGURES), Scale(options.size, options.rounds)))
    print(
        f"\nsize {options.size:g}, {options.rounds} rounds, {os.cpu_count()} cores, load before {before:.1f}, "
        f"{time.monotonic() - started:.0f} s"
    )
    raise SystemExit(0 if held else 1)


if __name__ == "__main__":
    main()
