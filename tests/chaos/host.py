"""Run a function host with scaled time: `python -m tests.chaos.host SKEW NUMBER_FILE host …`.

Timers and pauses of minutes take seconds. SKEW is the error of the pipeline's clock in seconds. Storage and its SDK
keep the true time; without it, they would reject each other's requests. NUMBER_FILE holds the deployment number.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import azure.functions as func

from devstack.__main__ import build_cli
from pipeline.jobs import admission, circuit_breaker, lost_messages, put_back, retry_policy
from pipeline.pool import auth, slot
from pipeline.runs import lost_messages as lost_runs
from pipeline.runs import scheduled_start, selection
from pipeline.storage import deployment, entry, ledger
from tests.chaos.scaled import LONGEST_PAUSE, SCALE, TIMER

# The schedules of the app that are scaled; all of them have several minutes.
TIMERS = {"30 */5 * * * *": TIMER, "0 */5 * * * *": TIMER}


def skew(seconds: float) -> None:
    """Set the clock of leases, claims and the scheduled run."""

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(seconds=seconds)

    clock = SimpleNamespace(**{name: getattr(time, name) for name in ("monotonic", "perf_counter")})
    clock.time = lambda: time.time() + seconds
    for module in (ledger, entry, selection, lost_messages):
        module.datetime = Wrong  # type: ignore[attr-defined]
    slot.time = auth.time = clock  # type: ignore[assignment]


def scale() -> None:
    """Scale the constants of the pipeline that are minutes."""
    for module in (retry_policy, circuit_breaker, admission, put_back):
        module.MAX_PAUSE_SECONDS = LONGEST_PAUSE  # type: ignore[attr-defined]
    put_back.MIN_PAUSE_SECONDS = 1.0
    lost_messages.GRACE = lost_runs.GRACE = timedelta(minutes=5) / SCALE
    lost_messages.ABANDONED_AGE = timedelta(minutes=30) / SCALE
    # A run that started a second ago is no duplicate of the next tick of the scaled schedule.
    scheduled_start.DUPLICATE_TIMER_SECONDS = 60 // SCALE
    scheduled_start.STALLED_RUN_SECONDS = 3600 // SCALE
    plain = func.FunctionApp.timer_trigger

    def timer_trigger(app: func.FunctionApp, *, schedule: str, **more: Any) -> Callable[..., Any]:
        return plain(app, schedule=TIMERS.get(schedule, schedule), **more)

    func.FunctionApp.timer_trigger = timer_trigger  # type: ignore[assignment, method-assign]


def main(seconds: float, number_file: Path, argv: list[str]) -> None:
    """Run the host."""
    if seconds:
        skew(seconds)
    scale()
    deployment.NUMBER_FILE = number_file
    sys.argv = ["devstack", *argv]
    build_cli(argv[0])(prog_name="devstack")


if __name__ == "__main__":
    main(float(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
