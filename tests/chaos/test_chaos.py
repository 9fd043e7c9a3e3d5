"""A short chaos test: faults of many kinds during uploads. `python -m tests.chaos` runs longer ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.run import Plan, run
from tests.chaos.scene import Pace

# Three times the former backoff is nine seconds.
PACE = Pace(requeue_delay=0.1, schedule="*/5 * * * * *", schedule_max_jobs=16)
PLAN = Plan(
    images=32, faults=25, seed=12, pause=0.25, slow=5, patience=300, brief=True, contents=6, deployments=2, pace=PACE
)


@pytest.mark.timeout(900)
async def test_no_fault_loses_mixes_or_repeats_a_job(tmp_path: Path) -> None:
    report = await run(PLAN, tmp_path)
    assert report.violations == []
    assert len(report.injected) >= 28
    assert report.found.states["done"] >= 24
    assert report.recoveries["done"] >= 24
    assert report.found.requests >= 1
    assert report.waited >= 3, "the outages have met jobs"
    assert sum(report.struck.values()) >= 8
    assert report.ran["sources"] >= 24
