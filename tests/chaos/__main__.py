"""Run a chaos test and print its report: `python -m tests.chaos --images 500 --faults 200 --seed 1`."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.run import Plan, Report, run


def main() -> int:
    """Run; exit with status 1 on any violation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hours", type=float, default=0, help="continue for this many hours")
    parser.add_argument("--logs", type=Path, help="folder for the logs")
    options = parser.parse_args()
    folder = options.logs or Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - start:7.1f} {text}", file=sys.stderr, flush=True)

    plan = Plan(options.images, options.faults, options.seed, seconds=options.hours * 3600)
    report = asyncio.run(run(plan, folder, say))
    print(table(report))
    print(f"\nlogs: {folder}")
    return 1 if report.violations else 0


def table(report: Report) -> str:
    """Format counts as a table."""
    lines = [f"seed {report.plan.seed}: {sum(report.injected.values())} faults of {len(report.injected)} kinds"]
    lines += ["", "injected"] + [f"  {kind:34} {count:5}" for kind, count in sorted(report.injected.items())]
    lines += ["", "faults that struck"] + [f"  {kind:34} {count:5}" for kind, count in sorted(report.struck.items())]
    lines += ["", "recoveries"] + [f"  {kind:34} {count:5}" for kind, count in report.recoveries.items()]
    lines += ["", "jobs at the end"] + [f"  {state:34} {count:5}" for state, count in report.found.states.items()]
    lines += [f"  {'renditions':34} {report.found.renditions:5}"]
    lines += [f"  {'jobs of requests':34} {report.found.requests:5}"]
    lines += [f"  {'jobs that outages sent back':34} {report.waited:5}"]
    lines += [f"  {f'executions: {name}':34} {count:5}" for name, count in report.ran.items()]
    lines += [f"  {'failed by faults, retried, done':34} {report.repaired:5}"]
    lines += [f"  {f'seconds of {name}':34} {took:5.0f}" for name, took in report.took.items()]
    lines += ["", f"violations: {len(report.violations)}"] + [f"  {each}" for each in report.violations]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
