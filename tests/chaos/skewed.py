"""Run a function host whose clock is wrong for the pipeline: `python -m tests.chaos.skewed SECONDS host …`.

Storage and its SDK keep the true time; without it, they would reject each other's requests.
"""

from __future__ import annotations

import sys
import time
from datetime import datetime, timedelta, tzinfo
from types import SimpleNamespace

from devstack.__main__ import build_cli
from pipeline.pool import auth, slot
from pipeline.storage import entry, ledger


def main(seconds: float, argv: list[str]) -> None:
    """Run the host."""

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(seconds=seconds)

    clock = SimpleNamespace(**{name: getattr(time, name) for name in ("monotonic", "perf_counter")})
    clock.time = lambda: time.time() + seconds
    ledger.datetime = entry.datetime = Wrong  # type: ignore[misc]
    slot.time = auth.time = clock
    sys.argv = ["devstack", *argv]
    build_cli(argv[0])(prog_name="devstack")


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
