"""The ledger: one row per source × recipe, changed by conditional writes only.

A row's own ETag is the mutual exclusion: whoever changed the row first holds the claim, everybody else finds out at
the next write. `generation` grows with every claim and decides between two commits of the same rendition.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Self

from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient

from pipeline.errors import JobOvertaken
from pipeline.storage.account import Account, translated
from pipeline.storage.keys import JobKey

State = Literal["queued", "running", "done", "failed", "overtaken"]
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
Verdict = Literal["take", "confirm", "done", "failed", "busy"]


@dataclass(frozen=True)
class Version:
    """What a job is about: one version of the source under one form of the recipe."""

    etag: str
    recipe_hash: str


@dataclass(frozen=True)
class Entry:
    """One row. Times are UTC; `renditions` and `report` are as the job left them."""

    key: JobKey
    container: str
    name: str
    state: State
    version: Version
    generation: int = 0
    owner: str = ""
    expires: datetime = LONG_AGO
    attempts: int = 0
    error_kind: str = ""
    error_message: str = ""
    stage: str = ""
    renditions: list[dict[str, Any]] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)
    changed: datetime | None = None
    row_etag: str = ""

    @classmethod
    def from_row(cls, row: Any) -> Self:  # noqa: ANN401 - an entity of the SDK, a mapping with metadata
        """Read a table entity."""
        return cls(
            key=JobKey(row["PartitionKey"], row["RowKey"]),
            container=row["container"],
            name=row["name"],
            state=row["state"],
            version=Version(row["source_etag"], row["recipe_hash"]),
            generation=row["generation"],
            owner=row["owner"],
            expires=row["expires"],
            attempts=row["attempts"],
            error_kind=row["error_kind"],
            error_message=row["error_message"],
            stage=row["stage"],
            renditions=json.loads(row["renditions"]),
            report=json.loads(row["report"]),
            changed=row.metadata["timestamp"],
            row_etag=row.metadata["etag"],
        )

    def to_row(self) -> dict[str, Any]:
        """Write a table entity."""
        return {
            "PartitionKey": self.key.recipe,
            "RowKey": self.key.row,
            "container": self.container,
            "name": self.name,
            "state": self.state,
            "source_etag": self.version.etag,
            "recipe_hash": self.version.recipe_hash,
            "generation": self.generation,
            "owner": self.owner,
            "expires": self.expires,
            "attempts": self.attempts,
            "error_kind": self.error_kind,
            "error_message": self.error_message[:8000],
            "stage": self.stage,
            "renditions": json.dumps(self.renditions, ensure_ascii=False),
            "report": json.dumps(self.report, ensure_ascii=False),
        }


def judge(entry: Entry | None, version: Version, now: datetime, *, again: bool) -> Verdict:
    """What a worker that holds `version` of the source may do, given the row it found.

    `confirm`: the row is about another version; take it when ours is still the current one.
    `again` asks for a job to be done although it is done or has failed already.
    """
    if entry is None:
        return "take"
    if entry.version != version:
        return "confirm"
    if entry.state == "running" and entry.expires > now:
        return "busy"
    if entry.state == "done" and not again:
        return "done"
    if entry.state == "failed" and not again:
        return "failed"
    return "take"


class Ledger:
    """The table. Every change is conditional on what was read before."""

    def __init__(self, account: Account, table: str, claim_seconds: int) -> None:
        self._table: TableClient = account.table(table)
        self._ttl = timedelta(seconds=claim_seconds)

    async def get(self, key: JobKey) -> Entry | None:
        """The row of a job, or None."""
        with translated("reading the ledger"):
            try:
                return Entry.from_row(await self._table.get_entity(key.recipe, key.row))
            except ResourceNotFoundError as error:
                if error.error_code == "TableNotFound":  # type: ignore[attr-defined]
                    raise
                return None

    async def between(self, recipe: str, first: str, last: str) -> AsyncIterator[Entry]:
        """The rows of a recipe whose row keys lie in [first, last]: a range read within one partition."""
        query = "PartitionKey eq @recipe and RowKey ge @first and RowKey le @last"
        values = {"recipe": recipe, "first": first, "last": last}
        with translated("reading the ledger"):
            async for row in self._table.query_entities(query, parameters=values):
                yield Entry.from_row(row)

    async def claim(
        self,
        key: JobKey,
        source: tuple[str, str],
        version: Version,
        is_current: Callable[[], Awaitable[bool]],
        *,
        again: bool = False,
    ) -> Claim | Entry:
        """Claim a job, or give the row that says why not (done, failed, or somebody is on it).

        JobOvertaken when the row is about a version that is newer than ours.
        """
        fresh = Entry(key, *source, state="running", version=version, owner=secrets.token_hex(8))
        entry: Entry | None = None
        while True:
            now = datetime.now(UTC)
            verdict = judge(entry, version, now, again=again)
            if entry and verdict in ("done", "failed", "busy"):
                return entry
            if verdict == "confirm" and not await is_current():
                raise JobOvertaken("the source has changed since this job began")
            claimed = await self._try(_claimed(fresh, entry, now + self._ttl))
            if claimed:
                return Claim(self, claimed, self._ttl)
            entry = await self.get(key)

    async def enqueue(self, entry: Entry) -> None:
        """Note that a job waits in the queue, unless there is a row already."""
        await self._try(entry)

    async def _try(self, entry: Entry) -> Entry | None:
        """Write a row if nobody changed it since it was read: the row as written, or None."""
        with translated("writing the ledger"):
            try:
                return replace(entry, row_etag=await self._write(entry))
            except (ResourceExistsError, ResourceModifiedError):
                pass
            except ResourceNotFoundError as error:
                if error.error_code == "TableNotFound":  # type: ignore[attr-defined]
                    raise
        # A write whose answer got lost is sent again by the SDK, and then collides with itself.
        there = await self.get(entry.key)
        mine = there and (there.owner, there.generation, there.state) == (entry.owner, entry.generation, entry.state)
        return there if mine and entry.owner else None

    async def _write(self, entry: Entry) -> str:
        if not entry.row_etag:
            return str((await self._table.create_entity(entry.to_row()))["etag"])
        written = await self._table.update_entity(
            entry.to_row(),
            mode=UpdateMode.REPLACE,
            etag=entry.row_etag,
            match_condition=MatchConditions.IfNotModified,
        )
        return str(written["etag"])


class Claim:
    """A job that is ours until it is done, failed or given back, as long as it is renewed."""

    def __init__(self, ledger: Ledger, entry: Entry, ttl: timedelta) -> None:
        self._ledger, self._ttl = ledger, ttl
        self._writing = asyncio.Lock()
        self.entry = entry

    @property
    def renew_every(self) -> float:
        """Seconds between renewals."""
        return self._ttl.total_seconds() / 3

    async def renew(self) -> None:
        """Move the expiry on. JobOvertaken when the claim is lost."""
        await self._write(expires=datetime.now(UTC) + self._ttl)

    async def done(self, renditions: list[dict[str, Any]], report: dict[str, Any]) -> Entry:
        """Record the result. JobOvertaken when the claim is lost."""
        return await self._write(
            state="done",
            attempts=self.entry.attempts + 1,
            renditions=renditions,
            report=report,
            error_kind="",
            error_message="",
            stage="",
        )

    async def failed(self, kind: str, message: str, stage: str) -> Entry:
        """Record a failure with its reason. JobOvertaken when the claim is lost."""
        tries = self.entry.attempts + 1
        return await self._write(state="failed", attempts=tries, error_kind=kind, error_message=message, stage=stage)

    async def give_back(self, kind: str, message: str, stage: str, *, tried: bool) -> Entry:
        """Record that the job waits for another attempt. JobOvertaken when the claim is lost."""
        tries = self.entry.attempts + int(tried)
        return await self._write(state="queued", attempts=tries, error_kind=kind, error_message=message, stage=stage)

    async def let_go(self, message: str) -> Entry:
        """Record that nothing is left to do: the source went, or changed. JobOvertaken when the claim is lost."""
        return await self._write(state="overtaken", error_kind="overtaken", error_message=message)

    async def _write(self, **changes: Any) -> Entry:  # noqa: ANN401 - fields of Entry
        async with self._writing:
            written = await self._ledger._try(replace(self.entry, **changes))
            if written is None and await self._still_ours():
                written = await self._ledger._try(replace(self.entry, **changes))
            if written is None:
                raise JobOvertaken("another process has taken this job over")
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


def _claimed(fresh: Entry, entry: Entry | None, expires: datetime) -> Entry:
    """The row that claims the job, in place of `entry` when there is one."""
    before = entry or fresh
    same = before.version == fresh.version
    return replace(
        fresh,
        generation=before.generation + 1,
        attempts=before.attempts if same else 0,
        expires=expires,
        row_etag=before.row_etag,
    )
