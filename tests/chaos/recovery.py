"""Measure the recovery after a kill of the only worker: `python -m tests.chaos.recovery`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from tests.chaos.checker import Checker
from tests.chaos.pictures import pictures
from tests.chaos.scene import LEASE, Scene, opened
from tests.chaos.sources import Sources

PICTURES, ROUNDS = 30, 3
GRACE = 30


async def recovery(folder: Path) -> list[float]:
    """Return the seconds from the kill to the end of every job, in each round, with the start of the next worker."""
    async with opened(folder) as scene:
        await scene.hosts[1].stop()
        sources = Sources(scene, pictures(), Random(1))
        checker = Checker(scene.account, sources.wanted, {}, {})
        try:
            return [await _round(scene, sources, checker, number) for number in range(ROUNDS)]
        finally:
            await sources.close()


async def _round(scene: Scene, sources: Sources, checker: Checker, number: int) -> float:
    for picture in range(PICTURES):
        await sources.drop(f"photos/{number}-{picture:02d}.jpg", f"good-{picture % 20:02d}")
    while not 0 < _ended(checker) - number * PICTURES < PICTURES * 2 // 3:
        await asyncio.sleep(0.1)
    killed = time.monotonic()
    await scene.hosts[0].kill()
    await scene.hosts[0].start()
    while not await asyncio.to_thread(checker.settled):
        await asyncio.sleep(0.2)
    return time.monotonic() - killed


def _ended(checker: Checker) -> int:
    return sum(row["state"] == "done" for row in checker._rows().values())


def main() -> int:
    """Print the figures; exit with status 1 if one exceeds the lease by more than 30 s."""
    with tempfile.TemporaryDirectory() as folder:
        took = asyncio.run(recovery(Path(folder)))
    print(f"kill -9 of the only worker, {PICTURES} pictures, claims and leases of {LEASE} s; all jobs ended after")
    print(", ".join(f"{seconds:.1f} s" for seconds in took))
    return int(max(took) > LEASE + GRACE)


if __name__ == "__main__":
    sys.exit(main())
