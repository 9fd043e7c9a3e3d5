"""Memory growth of the functions process: large images in flight, and many small images in sequence."""

from __future__ import annotations

from math import nan

from benchmarks.figures import Scale
from benchmarks.table import Row, below
from benchmarks.testbed import photo, test_bed

MB = 1_000_000
# Jobs that a worker executes before the measurement: two for each session.
WARM = 10


async def memory(scale: Scale) -> list[Row]:
    """Measure 32 images of 100 MB in flight, and 10,000 small images of which the first 1,000 may add memory.

    Small images warm the idle process up before the measurement.
    """
    large, flying = photo(1200, 900) + bytes(100 * MB), max(8, round(32 * scale.size))
    async with test_bed(5, PIPELINE_MAX_SOURCE_BYTES=str(110 * MB)) as stage:
        await stage.upload("light", WARM + flying, large)
        await stage.upload("light", WARM, photo(400, 300))
        told = await stage.worker("pipeline", "light", 0, WARM + flying, flying)
        await stage.upload("light", 64, photo(400, 300))
        many = max(400, round(10_000 * scale.size))
        small = await stage.fresh().worker("many", "light", 0, many, 32)
    grown = told["grown"] if told["jobs"] else nan
    later = nan if small["later"] is None else small["later"]
    return [
        below(f"5 {flying} images of 100 MB in flight: growth over idle", grown / MB, "MB", 64),
        below(f"5 {many} small images: growth after the first tenth", later / MB, "MB", 10),
    ]
