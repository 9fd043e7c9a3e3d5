"""The ledger: one row per source × recipe, changed by conditional writes only.

A row's own ETag is the mutual exclusion: whoever changed the row first holds the claim, everybody else finds out at
the next write. `generation` grows with every claim and decides between two commits of the same rendition; it starts
with the milliseconds since 2025 began.

Beside it, in the same partition, lie rows that list the job: by its state and by its run, newest first, each with all
that a list shows. They are moved in the same entity-group transaction that changes the job's row, so that they never
disagree for long, and one request does it all. A claim does not move them unless the job was listed as waiting, and
leaves that to its first renewal: most jobs are over before, and every list is a range read of what has happened.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from typing import Any, Literal

from azure.core import MatchConditions
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.data.tables import TableTransactionError, UpdateMode
from azure.data.tables.aio import TableClient

from pipeline.engine.revisions import decoder_revision
from pipeline.errors import JobSuperseded, PipelineError
from pipeline.storage.account import Account, map_errors
from pipeline.storage.entry import BRIEF, LONG_AGO, UNREADABLE, Entry, State, Version
from pipeline.storage.keys import JobKey
from pipeline.storage.ledger_queries import FailureGroup, LedgerQueries
from pipeline.storage.metrics import MetricsStore
from pipeline.telemetry import logger

log = logger(__name__)
__all__ = ["LONG_AGO", "Claim", "Entry", "Ledger", "State", "Version", "decide_claim"]
BEGINNING = datetime(2025, 1, 1, tzinfo=UTC)
Verdict = Literal["take", "confirm", "done", "failed", "dismissed", "busy"]


def decide_claim(
    entry: Entry | None, version: Version, now: datetime, *, again: bool, seen: int | None = None
) -> Verdict:
    """What a worker that holds `version` of the source may do, given the row it found.

    `confirm`: the row is about another version; take it when ours is still the current one. A job that ended is taken
    again when this code has a newer decoder for the source's format.
    `again` asks for a job to be done although it has ended; `seen` is the generation that whoever asked had seen, so
    that the same wish, delivered twice, is answered once.
    """
    if entry is None:
        return "take"
    if entry.version != version:
        return "confirm"
    if entry.state == "running" and entry.expires > now:
        return "busy"
    if again and (seen is None or entry.generation <= seen):
        return "take"
    if entry.state == "dismissed" or (entry.state in ("done", "failed") and not entry.decoder_outdated):
        return entry.state
    return "take"


class Ledger:
    """The table. Every change is conditional on what was read before."""

    def __init__(self, account: Account, table: str, claim_ttl: int, recipes: Sequence[str] = ()) -> None:
        self._table: TableClient = account.table(table)
        self._ttl = timedelta(seconds=claim_ttl)
        self._listing = LedgerQueries(self._table, (*recipes, UNREADABLE))
        self.stats = MetricsStore(self._table)

    async def get(self, key: JobKey) -> Entry | None:
        """The row of a job, or None."""
        with map_errors("reading the ledger"):
            try:
                return Entry.from_row(await self._table.get_entity(key.partition, key.row))
            except ResourceNotFoundError as error:
                if error.error_code == "TableNotFound":  # type: ignore[attr-defined]
                    raise
                return None

    async def scan(self, recipe: str, first: str, last: str) -> AsyncIterator[Entry]:
        """The rows of a recipe whose row keys lie in [first, last]: a range read within one partition."""
        query = "PartitionKey eq @recipe and RowKey ge @first and RowKey le @last"
        values = {"recipe": recipe, "first": first, "last": last}
        with map_errors("reading the ledger"):
            async for row in self._table.query_entities(query, parameters=values):
                yield Entry.from_row(row)

    async def scan_summaries(self, recipe: str, first: str, last: str) -> AsyncIterator[Entry]:
        """As `between`, with as much of each row as planning asks for: how it stands, of which version."""
        query = "PartitionKey eq @recipe and RowKey ge @first and RowKey le @last"
        values = {"recipe": recipe, "first": first, "last": last}
        with map_errors("reading the ledger"):
            async for row in self._table.query_entities(query, parameters=values, select=BRIEF):
                yield Entry.from_row(row)

    async def delete(self, entry: Entry) -> None:
        """Delete a row and what lists it, unless it has changed since it was read."""
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
                        del lists[error.index - 1]  # what is not in a list need not be removed from it
                        continue
                    if not _somebody_was_first(error):
                        raise
                return

    async def page(
        self,
        *,
        recipe: str | None = None,
        state: State | None = None,
        container: str = "",
        prefix: str = "",
        run: str = "",
        limit: int = 50,
        token: str = "",
    ) -> tuple[list[Entry], str]:
        """A page of jobs and the token of the next one, which is empty at the end. BadToken when it is no token.

        By name when a `container` (and perhaps a `prefix` of names in it) is given, else newest first. A page by name
        may hold less than `limit` entries, and yet not be the last.
        """
        return await self._listing.page(recipe, state, (container, prefix), run, limit, token)

    async def failures_grouped(self, *, recipe: str | None = None, most: int = 10_000) -> list[FailureGroup]:
        """How many failures there are of each kind, of the newest `most` of a recipe, the most frequent first."""
        return await self._listing.failures(recipe, most)

    async def claim(
        self,
        key: JobKey,
        source: tuple[str, str],
        version: Version,
        is_current: Callable[[], Awaitable[bool]],
        *,
        again: bool = False,
        seen: int | None = None,
        run: str = "",
        known: Entry | None = None,
    ) -> Claim | Entry:
        """Claim a job, or give the row that says why not (done, failed, dismissed, or somebody is on it).

        `known` is a row that was found to be due before the source was opened: while nobody has changed it, it is
        claimed without another look. JobSuperseded when the row is about a version that is newer than ours.
        """
        fresh = Entry(key, *source, state="running", version=version, owner=secrets.token_hex(8), run=run)
        entry, looked = known, known is None
        while True:
            now = datetime.now(UTC)
            verdict = decide_claim(entry, version, now, again=again, seen=seen) if looked else "take"
            if entry and verdict in ("done", "failed", "dismissed", "busy"):
                return entry
            if verdict == "confirm" and not await is_current():
                raise JobSuperseded("the source has changed since this job began")
            waited = entry is not None and entry.state == "queued"
            claimed = await self._try(_claimed(fresh, entry, now, self._ttl), lists=waited)
            if claimed:
                return Claim(self, claimed, self._ttl)
            entry, looked = await self.get(key), True

    async def enqueue(self, entry: Entry) -> None:
        """Note a job that has no row yet: that it waits, most often. A row that is there stays as it is."""
        await self._try(replace(entry, since=datetime.now(UTC)))

    async def transition(self, entry: Entry, state: State, version: Version | None = None) -> Entry | None:
        """Put a job that nobody is on into another state; None when its row has changed since it was read.

        Who dismisses a job answers every wish for it that there is: messages that come later find it so.
        """
        now, version = datetime.now(UTC), version or entry.version
        generation = _next(entry.generation, now) if state == "dismissed" else entry.generation
        moved = replace(entry, state=state, version=version, generation=generation, since=now, expires=LONG_AGO)
        return await self._try(replace(moved, owner=secrets.token_hex(8)))

    async def _try(self, entry: Entry, *, lists: bool = True) -> Entry | None:
        """Write a row if nobody changed it since it was read: the row as written, or None.

        With `lists`, the rows that list it are moved along.
        """
        lists = lists and entry.listed != entry.list_keys()
        gone = set(entry.listed) - set(entry.list_keys()) if lists else set()
        entry = replace(entry, listed=entry.list_keys()) if lists else entry
        with map_errors("writing the ledger"):
            try:
                return replace(entry, row_etag=await self._write(entry, gone, lists=lists))
            except HttpResponseError as error:
                if not _somebody_was_first(error):
                    raise
            except HTTPException:
                log.warning(
                    "storage's answer to a change of %s cannot be read: what is there is looked at", entry.key.id
                )
        # A write whose answer got lost is sent again by the SDK, and then collides with itself.
        there = await self.get(entry.key)
        mine = there and (there.owner, there.generation, there.state) == (entry.owner, entry.generation, entry.state)
        return there if mine and entry.owner else None

    async def _write(self, entry: Entry, gone: set[str], *, lists: bool) -> str:
        row, condition = entry.to_row(), _unchanged(entry)
        if lists:
            return await self._write_all(entry, gone)
        if not condition:
            return str((await self._table.create_entity(row))["etag"])
        return str((await self._table.update_entity(row, **condition))["etag"])

    async def _write_all(self, entry: Entry, gone: set[str]) -> str:
        """The job's row, conditionally, and with it the rows that list it."""
        condition = _unchanged(entry)
        first = ("update", entry.to_row(), condition) if condition else ("create", entry.to_row())
        listed = [("upsert", entry.list_row(key), {"mode": UpdateMode.REPLACE}) for key in entry.listed]
        dropped = [("delete", {"PartitionKey": entry.key.partition, "RowKey": key}) for key in sorted(gone)]
        try:
            written = await self._table.submit_transaction([first, *listed, *dropped])
        except TableTransactionError as error:
            if error.status_code == 404 and error.index > len(listed):
                # Somebody tidied up in the lists: what is not there need not be removed.
                return await self._write_all(entry, set())
            raise
        return str(written[0]["etag"])


class Claim:
    """A job that is ours until it is done, failed or given back, as long as it is renewed."""

    def __init__(self, ledger: Ledger, entry: Entry, ttl: timedelta) -> None:
        self._ledger, self._ttl = ledger, ttl
        self._writing = asyncio.Lock()
        self.entry = entry

    @property
    def heartbeat_interval(self) -> float:
        """Seconds between renewals."""
        return self._ttl.total_seconds() / 3

    async def renew(self) -> None:
        """Move the expiry on. JobSuperseded when the claim is lost."""
        await self._write(expires=datetime.now(UTC) + self._ttl)

    async def ensure_fresh(self) -> None:
        """Renew it where a renewal was missed: storage did not answer, or this process stood still.

        It may be another's by then: JobSuperseded. One that was renewed in time never has less than half left.
        """
        if self.entry.expires - datetime.now(UTC) < self._ttl / 2:
            await self.renew()

    async def complete(self, renditions: list[dict[str, Any]], report: dict[str, Any]) -> Entry:
        """Record the result. JobSuperseded when the claim is lost."""
        source_format = report.get("source", {}).get("format", "")
        return await self._end(
            state="done",
            source_format=source_format,
            decoder_revision=decoder_revision(source_format),
            attempts=self.entry.attempts + 1,
            renditions=renditions,
            report=report,
            bytes_in=report.get("source", {}).get("size", 0),
            bytes_out=sum(one.get("size", 0) for one in renditions),
            ms=report.get("ms", {}),
            versions=report.get("versions", {}),
            **_NO_ERROR,
        )

    async def fail(self, error: PipelineError, stage: str, ms: dict[str, float] | None = None) -> Entry:
        """Record a failure with its reason, and how long each stage took. JobSuperseded when the claim is lost."""
        return await self._end(
            state="failed",
            attempts=self.entry.attempts + 1,
            source_format=error.source_format,
            decoder_revision=decoder_revision(error.source_format),
            ms=ms or {},
            **_reason(error, stage),
        )

    async def requeue(self, error: PipelineError, stage: str, *, tried: bool) -> Entry:
        """Record that the job waits for another attempt. JobSuperseded when the claim is lost."""
        return await self._end(state="queued", attempts=self.entry.attempts + int(tried), **_reason(error, stage))

    async def abandon(self, error: PipelineError) -> Entry:
        """Record that nothing is left to do: the source went, or changed. JobSuperseded when the claim is lost."""
        return await self._end(state="superseded", **_reason(error, ""))

    async def _end(self, **changes: Any) -> Entry:  # noqa: ANN401 - fields of Entry
        written = await self._write(since=datetime.now(UTC), **changes)
        self._ledger.stats.record(written)
        return written

    async def _write(self, **changes: Any) -> Entry:  # noqa: ANN401 - fields of Entry
        async with self._writing:
            written = await self._ledger._try(replace(self.entry, **changes))
            if written is None and await self._still_ours():
                written = await self._ledger._try(replace(self.entry, **changes))
            if written is None:
                raise JobSuperseded("another process has taken this job over")
            self.entry = written
            return written

    async def _still_ours(self) -> bool:
        """Whether the row was changed by a renewal of our own whose answer got lost; then go on from there."""
        ours = (self.entry.owner, self.entry.generation, "running")
        there = await self._ledger.get(self.entry.key)
        if there is None or (there.owner, there.generation, there.state) != ours:
            return False
        self.entry = there
        return True


_NO_ERROR = {"error_kind": "", "error_class": "", "error_message": "", "error_tail": "", "stage": ""}


def _reason(error: PipelineError, stage: str) -> dict[str, str]:
    """What is kept of an error."""
    return {
        "error_kind": error.kind,
        "error_class": type(error).__name__,
        "error_message": error.message,
        "error_tail": error.stderr_tail,
        "stage": stage,
    }


def _somebody_was_first(error: HttpResponseError) -> bool:
    """Whether a conditional write found that the row is not as it was, or not there (any more)."""
    code = getattr(error, "error_code", None)
    if isinstance(error, ResourceExistsError | ResourceModifiedError | ResourceNotFoundError):
        return code != "TableNotFound"
    return isinstance(error, TableTransactionError) and code in (
        "EntityAlreadyExists",
        "UpdateConditionNotSatisfied",
        "ResourceNotFound",
    )


def _unchanged(entry: Entry) -> dict[str, Any]:
    """The condition under which a row is replaced; none for a row that is to be new."""
    if not entry.row_etag:
        return {}
    condition = {"etag": entry.row_etag, "match_condition": MatchConditions.IfNotModified}
    return {"mode": UpdateMode.REPLACE, **condition}


def _next(generation: int, now: datetime) -> int:
    """The generation after this one. The first of a row is later than those of any row that was there before it.

    Else renditions that are left of a row which was deleted, or of a whole ledger, could never be replaced.
    """
    return generation + 1 if generation else (now - BEGINNING) // timedelta(milliseconds=1)


def _claimed(fresh: Entry, entry: Entry | None, now: datetime, ttl: timedelta) -> Entry:
    """The row that claims the job, in place of `entry` when there is one."""
    before = entry or fresh
    same = before.version == fresh.version
    return replace(
        fresh,
        generation=_next(before.generation, now),
        attempts=before.attempts if same else 0,
        run=fresh.run or before.run,
        since=now,
        expires=now + ttl,
        listed=before.listed,
        row_etag=before.row_etag,
    )
