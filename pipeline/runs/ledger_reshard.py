"""Reshard the ledger: spread its rows over another number of shards while the installation is paused.

First the new number is announced in the row that all processes read: from then on none of them writes to the ledger.
Then the rows move, and at last the new number takes effect. A process reads it before its next write. The command can
end at any point: repeated, it continues.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pipeline.concurrency import map_concurrently
from pipeline.errors import StateConflict
from pipeline.jobs.pauses import CACHE_SECONDS, READ_TIMEOUT_SECONDS, WORK, Pauses
from pipeline.storage import VALID_SECONDS, Entry, Ledger, ShardMoves, Shards
from pipeline.telemetry import logger

log = logger(__name__)
CONCURRENT_PARTITIONS = 8
# For this long the SDK may repeat a write that began before the announcement.
LATE_WRITE_SECONDS = 60.0
MARGIN_SECONDS = 10.0
Report = Callable[[str], None]


@dataclass(frozen=True)
class LedgerReshard:
    """Spread the rows of the ledger over another number of shards."""

    ledger: Ledger
    moves: ShardMoves
    pauses: Pauses
    claim_ttl: int
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def run(self, number: int, report: Report) -> int:
        """Move the rows to `number` shards, and return how many rows have moved. `report` receives each step.

        Raises:
            StateConflict: The installation is not paused, jobs are running, or a reshard to another number is under
                way.
        """
        before = await self.ledger.shards.read()
        if before == Shards(number):
            report(f"the ledger has {number} shards already")
            return 0
        if before.target not in (0, number):
            raise StateConflict(
                f"a reshard from {before.number} to {before.target} shards has begun: end it first with "
                f"`image-pipeline ledger reshard {before.target}`",
                kind="reshard_begun",
            )
        await self._ensure_paused(report)
        await self._ensure_nothing_runs()
        if not before.target:
            await self.ledger.shards.replace(before, Shards(before.number, number))
            log.info(
                "the ledger is being resharded from %d to %d", before.number, number, extra={"event": "ledger.reshard"}
            )
        seconds = VALID_SECONDS + LATE_WRITE_SECONDS
        report(f"announced; waiting {seconds:.0f} s until no instance writes with {before.number} shards")
        await self.sleep(seconds)
        moved = await self._move_all(number, report)
        await self.ledger.shards.replace(Shards(before.number, number), Shards(number))
        log.info("the ledger has %d shards", number, extra={"event": "ledger.resharded"})
        return moved

    async def _ensure_paused(self, report: Report) -> None:
        """Wait until each instance knows the pause and lists its running jobs. Raises StateConflict without a pause."""
        times = await self.pauses.current()
        missing = [work for work in WORK if work not in times]
        if missing:
            raise StateConflict(
                f"{', '.join(missing)} are not paused: run `image-pipeline pause`, wait until no job is running, and "
                "reshard then",
                kind="not_paused",
            )
        # A claim is listed with its first heartbeat.
        known = CACHE_SECONDS + READ_TIMEOUT_SECONDS + self.claim_ttl / 3 + MARGIN_SECONDS
        left = known - (datetime.now(UTC) - max(times.values())).total_seconds()
        if left > 0:
            report(f"waiting {left:.0f} s until every instance has noticed the pause")
            await self.sleep(left)

    async def _ensure_nothing_runs(self) -> None:
        """Raise StateConflict if a worker holds a claim."""
        running, cursor = list[Entry](), ""
        while True:
            page, cursor = await self.ledger.page(state="running", limit=1000, cursor=cursor)
            running += [entry for entry in page if entry.is_running]
            if not cursor:
                break
        if running:
            first = running[0]
            raise StateConflict(
                f"{len(running)} jobs are running, such as {first.key.id} ({first.key.recipe} of {first.name[:80]}): "
                "wait until `image-pipeline jobs --state running` lists none, and reshard then",
                kind="jobs_running",
            )

    async def _move_all(self, number: int, report: Report) -> int:
        """Move all rows to their partitions, again and again until none is left."""
        total = 0
        while True:
            partitions = await self.moves.partitions()

            async def move(partition: str) -> tuple[int, datetime | None]:
                done = await self.moves.move(partition, number)
                return done.moved, done.claimed_until

            results = await map_concurrently(move, partitions, CONCURRENT_PARTITIONS)
            moved = sum(count for count, _ in results)
            claimed = [until for _, until in results if until]
            total += moved
            report(f"{moved:,} rows moved in {len(partitions)} partitions")
            if claimed:
                left = (max(claimed) - datetime.now(UTC) + timedelta(seconds=1)).total_seconds()
                report(f"waiting {left:.0f} s for the claims of dead workers")
                await self.sleep(max(1.0, left))
            elif not moved:
                return total
