"""Ledger: the job table. Optimistic concurrency by ETag; `generation` is the fencing token.

The ledger has one row per source × recipe, and changes it by conditional writes only. The worker whose write succeeds
first holds the claim; all others get a conflict at their next write. `generation` grows with every claim and decides
between two commits of the same rendition. It starts with the milliseconds since the beginning of 2025.

The same partition holds list rows, which list the job by state and by run, newest first, with the columns that a list
shows. One entity-group transaction changes the job's row and moves its list rows, so that they agree, in one request.
A claim moves them only if the job was listed as queued, or is that of a request; otherwise its first heartbeat does,
because most jobs end before that. Each list is a range read.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.data.tables import TableTransactionError, UpdateMode
from azure.data.tables.aio import TableClient

from pipeline.engine.revisions import decoder_revision
from pipeline.errors import JobSuperseded, PipelineError, SourceChanged
from pipeline.storage.account import Account, IgnoreMissing, error_code, if_unchanged, map_errors
from pipeline.storage.claim_decision import claimed_row, decide_claim, next_generation, outdated_error
from pipeline.storage.entry import LONG_AGO, UNREADABLE_PARTITION, Entry, State, Version, outputs_of
from pipeline.storage.error_codes import MISSING_CODES
from pipeline.storage.error_columns import NO_ERROR, columns_of
from pipeline.storage.former_renditions import replaced_by
from pipeline.storage.keys import JobKey
from pipeline.storage.ledger_queries import FailureGroup, LedgerQueries
from pipeline.storage.metrics import MetricsStore
from pipeline.storage.row_reads import read_rows
from pipeline.storage.source_facts import SourceFacts
from pipeline.telemetry import logger

log = logger(__name__)
# Codes of a write whose condition does not hold: the row has changed, exists already, or is gone.
CONFLICT_CODES = ("EntityAlreadyExists", "UpdateConditionNotSatisfied", "ConditionNotMet", *MISSING_CODES)
Adopt = Callable[[Entry], Awaitable[Entry | None]]


class Ledger:
    """The job table. Every change is conditional on the row that was read before.

    `deployment` is the deployment number of this process: it never replaces a result of a newer deployment.
    """

    def __init__(
        self, account: Account, table: str, claim_ttl: int, recipes: Sequence[str] = (), deployment: int = 0
    ) -> None:
        self.deployment = deployment
        self._table: TableClient = account.table(table)
        self._ttl = timedelta(seconds=claim_ttl)
        self._listing = LedgerQueries(self._table, (*recipes, UNREADABLE_PARTITION))
        self.metrics = MetricsStore(self._table)

    async def get(self, key: JobKey) -> Entry | None:
        """Return the row of a job, or None."""
        with map_errors("reading the ledger"), IgnoreMissing():
            return Entry.from_row(await self._table.get_entity(key.partition, key.row))
        return None

    async def scan(self, recipe: str, first: str, last: str, columns: list[str] | None = None) -> AsyncIterator[Entry]:
        """Yield the rows of a recipe with row keys in [first, last], with all columns or the named ones.

        This is a range read within one partition.
        """
        query = "PartitionKey eq @recipe and RowKey ge @first and RowKey le @last"
        values = {"recipe": recipe, "first": first, "last": last}
        with map_errors("reading the ledger"):
            async for row in self._table.query_entities(query, parameters=values, select=columns):
                yield Entry.from_row(row)

    async def rows(self, recipe: str, keys: Collection[str], columns: list[str] | None = None) -> dict[str, Entry]:
        """Return the rows of a recipe that have one of these row keys, by row key (see `read_rows`)."""
        with map_errors("reading the ledger"):
            return {row["RowKey"]: Entry.from_row(row) async for row in read_rows(self._table, recipe, keys, columns)}

    async def delete(self, entry: Entry) -> bool:
        """Delete a job's row and its list rows. Returns False if the row has changed since it was read, or is gone."""
        condition = {"etag": entry.row_etag, "match_condition": MatchConditions.IfNotModified}
        partition, lists = entry.key.partition, list(entry.listed)
        own = ("delete", {"PartitionKey": partition, "RowKey": entry.key.row}, condition)
        with map_errors("writing the ledger"):
            while True:
                listed = [("delete", {"PartitionKey": partition, "RowKey": key}) for key in lists]
                try:
                    await self._table.submit_transaction([own, *listed])
                except TableTransactionError as error:
                    if error.status_code == 404 and error.index:
                        del lists[error.index - 1]  # this list row is gone already
                        continue
                    if error_code(error) not in CONFLICT_CODES:
                        raise
                    return False
                return True

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
        A page by name may hold fewer than `limit` entries without being the last. Raises InvalidCursor.
        """
        return await self._listing.page(recipe, state, (container, prefix), run, limit, cursor)

    async def failures_grouped(self, *, recipe: str | None = None, limit: int = 10_000) -> list[FailureGroup]:
        """Count the newest `limit` failures of each recipe by error kind, most frequent first."""
        return await self._listing.failures(recipe, limit)

    async def claim(
        self,
        key: JobKey,
        source: tuple[str, str],
        version: Version,
        is_current: Callable[[], Awaitable[bool]],
        *,
        adopt: Adopt | None = None,
        again: bool = False,
        seen: int | None = None,
        run: str = "",
        known: Entry | None = None,
        listed: bool = False,
        force: bool = False,
    ) -> Claim | Entry:
        """Claim a job.

        Args:
            key: The key of the job.
            source: Container and name of the source.
            version: The version of the source and the recipe.
            is_current: Returns True if the source still has this version.
            adopt: Returns the row of a job that has ended, with this version, if the source's content is unchanged.
            again: Execute a job that has ended.
            seen: The generation that the sender of the job had seen.
            run: The id of the bulk run.
            known: The row as a run has read it. If it is unchanged, it is claimed without reading it again.
            listed: List the job as running at once, not with its first heartbeat.
            force: Claim the job even if only a newer deployment may, to record that it has not.

        Returns:
            The claim, or the row of a job that is done, failed, dismissed, or claimed by another worker.

        Raises:
            SourceChanged: The source has another version by now.
            OutdatedDeployment: Only a newer deployment may claim the job.
        """
        fresh = Entry(key, *source, state="running", version=version, owner=secrets.token_hex(8), run=run)
        fresh = replace(fresh, deployment=self.deployment)
        entry, is_read = known, known is None
        while True:
            now = datetime.now(UTC)
            verdict = (
                decide_claim(entry, version, now, again=again, seen=seen, deployment=self.deployment)
                if is_read
                else "take"
            )
            if entry and verdict in ("done", "failed", "dismissed", "busy"):
                return entry
            if entry and verdict == "outdated":
                if not force:
                    raise outdated_error(entry, self.deployment)
                verdict = "confirm"
            if entry and verdict == "confirm":
                if not await is_current():
                    raise SourceChanged("the source has changed since this job began")
                adopted = await adopt(entry) if adopt else None
                if adopted and (written := await self._try(replace(adopted, owner=fresh.owner), relist=True)):
                    return written
            queued = entry is not None and entry.state == "queued"
            claimed, stored = await self._put(claimed_row(fresh, entry, now, self._ttl), lists=queued or listed)
            if claimed:
                return Claim(self, claimed, self._ttl)
            entry, is_read = stored, True

    async def enqueue(self, entry: Entry) -> None:
        """Create the row of a job that has none, usually in the state `queued`. An existing row stays unchanged."""
        await self._try(replace(entry, since=datetime.now(UTC), deployment=max(entry.deployment, self.deployment)))

    async def transition(self, entry: Entry, state: State, version: Version | None = None) -> Entry | None:
        """Change the state of a job that no worker holds; None if its row has changed since it was read.

        Dismissing a job also raises its generation, so that messages sent before are obsolete.
        """
        now, version = datetime.now(UTC), version or entry.version
        if entry.is_of_newer(self.deployment, version.recipe_hash):
            version = entry.version  # the newer deployment decides about the recipe version
        generation = next_generation(entry.generation, now) if state == "dismissed" else entry.generation
        moved = replace(entry, state=state, version=version, generation=generation, since=now, expires=LONG_AGO)
        return await self._try(replace(moved, owner=secrets.token_hex(8)))

    async def adopt(self, entry: Entry, existing: Entry | None) -> bool:
        """Write the row of an ended job in place of `existing`; False if that has changed. Later claims are newer."""
        generation = max(entry.generation, next_generation(0, datetime.now(UTC)))
        kept: dict[str, Any] = {"listed": existing.listed, "row_etag": existing.row_etag} if existing else {}
        return await self._try(replace(entry, generation=generation, owner=secrets.token_hex(8), **kept)) is not None

    async def _try(self, entry: Entry, *, lists: bool = True, relist: bool = False) -> Entry | None:
        """Write a row and return it; None on a conflict (see `_put`)."""
        return (await self._put(entry, lists=lists, relist=relist))[0]

    async def _put(
        self, entry: Entry, *, lists: bool = True, relist: bool = False
    ) -> tuple[Entry | None, Entry | None]:
        """Write a row. Returns it or, on a conflict, None and the row that is stored instead, if there is one.

        With `lists`, move its list rows in the same transaction; with `relist`, write those that stay, too.
        """
        lists = relist or (lists and entry.listed != entry.list_keys())
        obsolete = set(entry.listed) - set(entry.list_keys()) if lists else set()
        entry = replace(entry, listed=entry.list_keys()) if lists else entry
        with map_errors("writing the ledger"):
            try:
                return replace(entry, row_etag=await self._write(entry, obsolete, lists=lists)), None
            except HttpResponseError as error:
                if error_code(error) not in CONFLICT_CODES:
                    raise
            except HTTPException:
                log.warning(
                    "malformed response to the update of %s; reading the row again",
                    entry.key.id,
                    extra={"event": "ledger.response_malformed"},
                )
        # The SDK repeats a write whose response was lost, and the repetition conflicts with the write itself.
        stored = await self.get(entry.key)
        own = stored and (stored.owner, stored.generation, stored.state) == (entry.owner, entry.generation, entry.state)
        return (stored if own and entry.owner else None), stored

    async def _write(self, entry: Entry, obsolete: set[str], *, lists: bool) -> str:
        row, condition = entry.to_row(), _unchanged(entry)
        if lists:
            return await self._write_all(entry, obsolete)
        if not condition:
            return str((await self._table.create_entity(row))["etag"])
        return str((await self._table.update_entity(row, **condition))["etag"])

    async def _write_all(self, entry: Entry, obsolete: set[str]) -> str:
        """Write the job's row conditionally, upsert its list rows and delete obsolete ones, in one transaction."""
        condition = _unchanged(entry)
        first = ("update", entry.to_row(), condition) if condition else ("create", entry.to_row())
        listed = [("upsert", entry.list_row(key), {"mode": UpdateMode.REPLACE}) for key in entry.listed]
        deleted = [("delete", {"PartitionKey": entry.key.partition, "RowKey": key}) for key in sorted(obsolete)]
        while True:
            try:
                return str((await self._table.submit_transaction([first, *listed, *deleted]))[0]["etag"])
            except TableTransactionError as error:
                if error.status_code != 404 or error.index <= len(listed):
                    raise
                del deleted[error.index - 1 - len(listed)]  # this list row is gone already; the others are not


class Claim:
    """Exclusive right of this worker to process a job, until the job ends or the claim expires without a heartbeat."""

    def __init__(self, ledger: Ledger, entry: Entry, ttl: timedelta) -> None:
        self._ledger, self._ttl = ledger, ttl
        self._writing = asyncio.Lock()
        self.entry = entry

    @property
    def heartbeat_interval(self) -> float:
        """Seconds between heartbeats: a third of the claim's TTL."""
        return self._ttl.total_seconds() / 3

    async def renew(self) -> None:
        """Renew the claim (heartbeat). Raises JobSuperseded if the claim is lost."""
        await self._write(expires=datetime.now(UTC) + self._ttl)

    async def ensure_fresh(self) -> None:
        """Renew the claim if a heartbeat was missed: storage did not respond, or this process was suspended.

        A claim with timely heartbeats always has more than half of its TTL left. Raises JobSuperseded if another worker
        has taken the job over.
        """
        if self.entry.expires - datetime.now(UTC) < self._ttl / 2:
            await self.renew()

    async def complete(
        self, renditions: list[dict[str, Any]], report: dict[str, Any], source: SourceFacts | None = None
    ) -> Entry:
        """Record the renditions, the report and the facts of the source. Raises JobSuperseded if the claim is lost."""
        source_format = report.get("source", {}).get("format", "")
        return await self._end(
            state="done",
            source_format=source_format,
            decoder_revision=decoder_revision(source_format),
            attempts=self.entry.attempts + 1,
            renditions=renditions,
            former=replaced_by(renditions, self.entry.former),
            outputs=outputs_of(renditions),
            report=report,
            source=source or SourceFacts(),
            bytes_in=report.get("source", {}).get("size", 0),
            bytes_out=sum(one.get("size", 0) for one in renditions),
            ms=report.get("ms", {}),
            versions=report.get("versions", {}),
            service_seconds=0.0,
            service_runs=0,
            **NO_ERROR,
        )

    async def fail(
        self,
        error: PipelineError,
        stage: str,
        ms: dict[str, float] | None = None,
        source: SourceFacts | None = None,
    ) -> Entry:
        """Record a failure: error, stage, milliseconds per stage and the facts of the source.

        Raises JobSuperseded if the claim is lost.
        """
        return await self._end(
            state="failed",
            attempts=self.entry.attempts + 1,
            source_format=error.source_format,
            decoder_revision=decoder_revision(error.source_format),
            ms=ms or {},
            source=source or SourceFacts(),
            **columns_of(error, stage),
        )

    async def requeue(
        self, error: PipelineError, stage: str, *, tried: bool, service_seconds: float | None = None
    ) -> Entry:
        """Record that the job is queued for another attempt. Raises JobSuperseded if the claim is lost.

        `service_seconds` is the time lost to faults of services since the first delivery; None leaves it.
        """
        lost = self.entry.service_seconds if service_seconds is None else service_seconds
        attempts = self.entry.attempts + int(tried)
        return await self._end(state="queued", attempts=attempts, service_seconds=lost, **columns_of(error, stage))

    async def abandon(self, error: PipelineError) -> Entry:
        """Record that the source has changed or is gone. Raises JobSuperseded if the claim is lost."""
        return await self._end(state="superseded", **columns_of(error, ""))

    async def _end(self, **changes: Any) -> Entry:  # noqa: ANN401 - fields of Entry
        written = await self._write(since=datetime.now(UTC), **changes)
        self._ledger.metrics.record(written)
        return written

    async def _write(self, **changes: Any) -> Entry:  # noqa: ANN401 - fields of Entry
        async with self._writing:
            written = await self._ledger._try(replace(self.entry, **changes))
            if written is None and await self._holds_claim():
                written = await self._ledger._try(replace(self.entry, **changes))
            if written is None:
                raise JobSuperseded("another worker has taken this job over")
            self.entry = written
            return written

    async def _holds_claim(self) -> bool:
        """Return True if the row differs only by an own heartbeat whose response was lost; continue from that row."""
        own = (self.entry.owner, self.entry.generation, "running")
        stored = await self._ledger.get(self.entry.key)
        if stored is None or (stored.owner, stored.generation, stored.state) != own:
            return False
        self.entry = stored
        return True


def _unchanged(entry: Entry) -> dict[str, Any]:
    """Return the ETag condition for replacing a row; empty for a new row."""
    return if_unchanged(entry.row_etag) if entry.row_etag else {}
