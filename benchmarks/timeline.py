"""Draw the timeline of docs/performance.md: `python -m benchmarks.timeline FILE`.

Two sessions of a pool that is 40 ms away, images of three megapixels, three renditions each.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from benchmarks.testbed import photo, test_bed
from devstack.state import ROOT

WARM, JOBS = 4, 24


async def draw(out: str) -> None:
    """Execute the jobs and draw their recorded spans."""
    async with test_bed(2, "--fault", "latency:seconds=0.04") as stage:
        await stage.upload("heavy", WARM + JOBS, photo(2000, 1500))
        await stage.worker("pipeline", "heavy", 0, WARM + JOBS, 12)
        argv = [sys.executable, "-m", "pipeline", "trace", "--jobs", str(JOBS), "--out", out]
        process = await asyncio.create_subprocess_exec(*argv, cwd=ROOT, env={**os.environ, **stage.environ})
        await process.wait()


if __name__ == "__main__":
    asyncio.run(draw(str(Path(sys.argv[1]).resolve())))
