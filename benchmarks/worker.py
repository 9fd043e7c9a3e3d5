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
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.meter import Count, Meter


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


if __name__ == "__main__":
    main()
