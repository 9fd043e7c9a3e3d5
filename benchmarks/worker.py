"""Process under measurement: executes jobs and prints duration and resource use as one line of JSON.

    python -m benchmarks.worker pipeline|many|naive|calls|bare|fill|plan|run|hold RECIPE FIRST COUNT AT_ONCE [WORK]

`pipeline` executes jobs like the function app, `many` repeats the same few sources; `naive` makes one round trip after
another; `calls` sends only the storage and pool calls that jobs need; `bare` is Pillow alone, files to files. `fill`
writes a ledger, `plan` plans a run, `run` processes one. `hold` holds sessions. WORK is a pause in seconds that each
image adds in a session, so that two cores do not limit many sessions.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.meter import Measurement, Meter


def main() -> None:
    """Execute the kind of work that the arguments name."""
    kind, recipe, first, count, at_once, *rest = sys.argv[1:]
    work = float(rest[0]) if rest else 0.0
    numbers = range(int(first), int(first) + int(count))
    if kind == "bare":
        from benchmarks import bare

        print(json.dumps(measure(lambda: bare.renditions(Path(os.environ["SOURCE"]), recipe, numbers))))
        return
    from benchmarks import calls, fairness_worker, naive, pipeline_worker, run_worker

    doing = {
        "pipeline": pipeline_worker.pipeline,
        "many": pipeline_worker.many,
        "naive": naive.jobs,
        "calls": calls.jobs,
        "fill": run_worker.fill,
        "plan": run_worker.plan,
        "run": run_worker.run,
        "hold": fairness_worker.hold,
    }
    print(json.dumps(asyncio.run(doing[kind](recipe, numbers, int(at_once), work))))


def measure(doing: Callable[[], None]) -> Measurement:
    """Measure a synchronous function."""
    meter = Meter()
    doing()
    return meter.result()


if __name__ == "__main__":
    main()
