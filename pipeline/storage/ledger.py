"""Ledger: the job table. Optimistic concurrency by ETag; `generation` is the fencing token.

The ledger has one row per source × recipe, and changes it by conditional writes only. The worker whose write succeeds
first holds the claim; all others get a conflict at their next write. `generation` grows with every claim and decides
between two commits of the same rendition. It starts with the milliseconds since the beginning of 2025.

The rows of a recipe are spread over shards, which are partitions. The partition of a job's row also holds a list row
of the job, which lists it by state, newest first, with what a list shows. One entity-group transaction changes the
job's row and moves its list row, so that they agree, in one request. A claim moves it only if the job was listed as
queued, or is that of a request; otherwise its first heartbeat does, because most jobs end before that. Each list is a
range read of each shard.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.data.tables.aio import TableClient

from pipeline.concurrency import map_concurrently
from pipeline.errors import SourceChanged
from pipeline.storage.account import Account, map_errors
from pipeline.storage.claim import NO_OPTIONS, Claim, ClaimOptions
from pipeline.storage.claim_decision import Verdict, claimed_row, decide_claim, next_generation, outdated_error
from pipeline.storage.entry import LONG_AGO, UNREADABLE_PARTITION, Entry, State, Version
from pipeline.storage.keys import JobKey
from pipeline.storage.ledger_queries import CONCURRENT_READS, MAX_PAGE_ROWS, FailureGroup, LedgerQueries
from pipeline.storage.merged_ranges import merged
from pipeline.storage.metrics import MetricsStore
from pipeline.storage.row_reads import read_rows
from pipeline.storage.row_writer import RowWriter
from pipeline.storage.shards import ShardNumber
from pipeline.telemetry import logger

log = logger(__name__)
# A scan reads pages of at least this many rows from each shard.
MIN_PAGE_ROWS = 100


class Ledger:
    """The job table. Every change is conditional on the row that was read before.

    `deployment` is the deployment number of this process: it never replaces a result of a newer deployment. `clock`
    returns seconds.
    """

    def __init__(
        self,
        account: Account,
        table: str,
        claim_ttl: int,
        recipes: Sequence[str] = (),
        deployment: int = 0,
        clock: Callable[[], float] = time.monotonic,
        shards: ShardNumber | None = None,
    ) -> None:
        self.deployment = deployment
        self._table: TableClient = account.table(table)
        self.shards = shards or ShardNumber(self._table, clock)
        self._writer = RowWriter(self._table, self.shards)
        self._ttl = timedelta(seconds=claim_ttl)
        self._listing = LedgerQueries(self._table, self.shards, (*recipes, UNREADABLE_PARTITION))
        self.metrics = MetricsStore(self._table)

    async def get(self, key: JobKey) -> Entry | None:
        """Return the row of a job, or None."""
        return await self._writer.get(key)

    async def scan(self, recipe: str, first: str, last: str, columns: list[str] | None = None) -> AsyncIterator[Entry]:
        """Yield the rows of a recipe with row keys in [first, last], in order, with all columns or the named ones.

        This is a range read within each shard. The shards are read at the same time, and at most some thousand rows
        are held, however many are in the range.
        """
        partitions = (await self.shards.current()).partitions(recipe)
        condition, values = "RowKey ge @first and RowKey le @last", {"first": first, "last": last}
        page_size = max(MIN_PAGE_ROWS, 2 * MAX_PAGE_ROWS // len(partitions))
        async for row in merged(self._table, partitions, condition, values, columns, min(page_size, MAX_PAGE_ROWS)):
            yield Entry.from_row(row)

    async def rows(self, recipe: str, keys: Collection[str], columns: list[str] | None = None) -> dict[str, Entry]:
        """Return the rows of a recipe that have one of these row keys, by row key: see `read_rows`, for each shard."""
        shards, by_partition = await self.shards.current(), dict[str, list[str]]()
        for key in keys:
            for partition in shards.candidates(JobKey(recipe, key)):
                by_partition.setdefault(partition, []).append(key)

        async def read(partition: str) -> list[Entry]:
            found = read_rows(self._table, partition, by_partition[partition], columns)
            with map_errors("reading the ledger"):
                return [Entry.from_row(row) async for row in found]

        read_by_partition = await map_concurrently(read, list(by_partition), CONCURRENT_READS)
        return {entry.key.row: entry for entries in read_by_partition for entry in entries}

    async def delete(self, entry: Entry) -> bool:
        """Delete a job's row and its list row. Returns False if the row has changed since it was read, or is gone."""
        return await self._writer.delete(entry)

    async def page(
        self,
        *,
        recipe: str | None = None,
        state: State | None = None,
        container: str = "",
        prefix: str = "",
        run: str = "",
        limit: int = 50,
        cursor: str = "",
    ) -> tuple[list[Entry], str]:
        """Return a page of jobs and the cursor of the next page, empty at the end.

        With a `container`, and optionally a `prefix` of names in it, jobs are sorted by name; otherwise newest first.
        A page by name or of a run may hold fewer than `limit` entries without being the last. Raises InvalidCursor.
        """
        return await self._listing.page(recipe, state, (container, prefix), run, limit, cursor)

    async def failures_grouped(self, *, recipe: str | None = None, limit: int = 10_000) -> list[FailureGroup]:
        """Count about the newest `limit` failures of each recipe by error kind, most frequent first."""
        return await self._listing.failures(recipe, limit)

    async def claim(
        self,
        key: JobKey,
        source: tuple[str, str],
        version: Version,
        is_current: Callable[[], Awaitable[bool]],
        options: ClaimOptions = NO_OPTIONS,
    ) -> Claim | Entry:
        """Claim a job.

        Args:
            key: The key of the job.
            source: Container and name of the source.
            version: The version of the source and the recipe.
            is_current: Returns True if the source still has this version.
            options: The options of the claim.

        Returns:
            The claim, or the row of a job that is done, failed, dismissed, or claimed by another worker.

        Raises:
            SourceChanged: The source has another version by now.
            OutdatedDeployment: Only a newer deployment may claim the job.
        """
        fresh = Entry(key, *source, state="running", version=version, owner=secrets.token_hex(8), run=options.run)
        fresh = replace(fresh, deployment=self.deployment)
        entry, is_read = options.known, options.known is None
        if is_read and options.expected:
            entry = await self.get(key)
        while True:
            now = datetime.now(UTC)
            verdict = self._decide(entry, version, now, options) if is_read else "take"
            if entry and verdict in ("done", "failed", "dismissed", "busy"):
                return entry
            if entry and verdict == "confirm":
                if not await is_current():
                    raise SourceChanged("the source has changed since this job began")
                adopted = await options.adopt(entry) if options.adopt else None
                # Neither its state nor the time of its end changes, so that its list row stays.
                if adopted and (written := await self._writer.write(replace(adopted, owner=fresh.owner), lists=False)):
                    return written
            lists = options.listed or (entry is not None and entry.state == "queued")
            claimed, stored = await self._writer.put(claimed_row(fresh, entry, now, self._ttl), lists=lists)
            if claimed:
                return Claim(self._writer, self.metrics, claimed, self._ttl)
            entry, is_read = stored, True

    def _decide(self, entry: Entry | None, version: Version, now: datetime, options: ClaimOptions) -> Verdict:
        """Decide about a row that was read. Raises OutdatedDeployment if only a newer deployment may claim it."""
        decision = decide_claim(entry, version, now, again=options.again, seen=options.seen, deployment=self.deployment)
        if entry is None or decision != "outdated":
            return decision
        if not options.force:
            raise outdated_error(entry, self.deployment)
        return "confirm"

    async def enqueue(self, entry: Entry) -> None:
        """Create the row of a job that has none, usually in the state `queued`. An existing row stays unchanged."""
        await self._writer.write(
            replace(entry, since=datetime.now(UTC), deployment=max(entry.deployment, self.deployment))
        )

    async def transition(self, entry: Entry, state: State, version: Version | None = None) -> Entry | None:
        """Change the state of a job that no worker holds; None if its row has changed since it was read.

        Dismissing a job also raises its generation, so that messages sent before are obsolete.
        """
        now, version = datetime.now(UTC), version or entry.version
        if entry.is_of_newer(self.deployment, version.recipe_hash):
            version = entry.version  # the newer deployment decides about the recipe version
        generation = next_generation(entry.generation, now) if state == "dismissed" else entry.generation
        moved = replace(entry, state=state, version=version, generation=generation, since=now, expires=LONG_AGO)
        return await self._writer.write(replace(moved, owner=secrets.token_hex(8)))

    async def adopt(self, entry: Entry, existing: Entry | None) -> bool:
        """Write the row of an ended job in place of `existing`; False if that has changed. Later claims are newer."""
        generation = max(entry.generation, next_generation(0, datetime.now(UTC)))
        kept: dict[str, Any] = {"listed": existing.listed, "row_etag": existing.row_etag} if existing else {}
        return (
            await self._writer.write(replace(entry, generation=generation, owner=secrets.token_hex(8), **kept))
            is not None
        )
