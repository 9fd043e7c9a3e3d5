"""Calls per image: to the pool as counted in its log, to storage as counted in the transport."""

from __future__ import annotations

from math import nan

from benchmarks.figures import Scale
from benchmarks.table import Row, below, quotient
from benchmarks.testbed import photo, test_bed


async def counted(scale: Scale) -> list[Row]:
    """Count the calls of one rendition per image in steady state."""
    count = max(100, round(400 * scale.size))
    async with test_bed(2) as stage:
        await stage.upload("light", count, photo(400, 300))
        since = stage.logged()
        told = await stage.worker("pipeline", "light", 0, count, 32)
        # The calls that end the sessions come after the measurement.
        calls = [call for call in stage.calls(since) if call["path"] != "/session" and call["method"] != "DELETE"]
    return [
        below("7 calls to the pool per image, all included", quotient(len(calls) or nan, count), "", 3),
        # 3, one for the rendition, and the metrics that are written each minute.
        below("7 calls to storage per image", quotient(told["storage"] or nan, told["jobs"]), "", 4.1),
    ]
