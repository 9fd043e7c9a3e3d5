"""How far the functions process grows: with large images in flight, and with many small ones one after another."""

from __future__ import annotations

from benchmarks.figures import Scale
from benchmarks.stage import photo, staged
from benchmarks.table import Row, below

MB = 1_000_000
# What a worker does before its clock starts: two for each session.
WARM = 10


async def memory(scale: Scale) -> list[Row]:
    """32 images of 100 MB in flight; 10,000 small ones, of which the first 1,000 may cost something.

    The process is idle when small images have warmed it up.
    """
    large, flying = photo(1200, 900) + bytes(100 * MB), max(8, round(32 * scale.size))
    async with staged(5, PIPELINE_MAX_SOURCE_BYTES=str(110 * MB)) as stage:
        await stage.drop("light", WARM + flying, large)
        await stage.drop("light", WARM, photo(400, 300))
        told = await stage.worker("pipeline", "light", 0, WARM + flying, flying)
        await stage.drop("light", 64, photo(400, 300))
        many = max(400, round(10_000 * scale.size))
        small = await stage.anew().worker("many", "light", 0, many, 32)
    return [
        below(f"5 {flying} images of 100 MB in flight: growth over idle", told["grown"] / MB, "MB", 64),
        below(f"5 {many} small images: growth after the first tenth", small["later"] / MB, "MB", 10),
    ]
