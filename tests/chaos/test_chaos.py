"""A short chaos test: faults of many kinds during uploads. `python -m tests.chaos` runs longer ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.run import Plan, run


@pytest.mark.timeout(900)
async def test_no_fault_loses_mixes_or_repeats_a_job(tmp_path: Path) -> None:
    report = await run(Plan(images=24, faults=26, seed=11, slow=13, patience=500), tmp_path)
    assert report.violations == []
    assert len(report.injected) >= 24
    assert report.found.states["done"] >= 24
    assert report.recoveries["done"] >= 24
    assert sum(report.struck.values()) >= 8
    assert report.ran["sources"] >= 24
