"""Calls per image, counted: to the pool by its log, to storage where they are sent."""

from __future__ import annotations

from benchmarks.figures import Scale
from benchmarks.stage import photo, staged
from benchmarks.table import Row, below


async def counted(scale: Scale) -> list[Row]:
    """One rendition per image, steady state."""
    count = max(100, round(400 * scale.size))
    async with staged(2) as stage:
        await stage.drop("light", count, photo(400, 300))
        since = stage.logged()
        told = await stage.worker("pipeline", "light", 0, count, 32)
        # Without what ends the sessions after the clock has stopped.
        calls = [call for call in stage.calls(since) if call["path"] != "/session" and call["method"] != "DELETE"]
    return [
        below("7 calls to the pool per image, everything included", len(calls) / count, "", 3),
        # 3 and one for the rendition; and the figures that are written by the minute.
        below("7 calls to storage per image", told["storage"] / told["jobs"], "", 4.1),
    ]
