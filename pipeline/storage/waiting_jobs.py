"""Jobs that wait for their messages, as the lists of the ledger show them."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import Any, Self

from azure.data.tables import TableTransactionError, UpdateMode
from azure.data.tables.aio import TableClient

from pipeline.storage.account import Account, IgnoreMissing, map_errors
from pipeline.storage.entry import LONG_AGO, Entry, State
from pipeline.storage.keys import JobKey
from pipeline.storage.list_keys import LIST_MARK, position_at, state_list_prefix
from pipeline.storage.list_row import listed_key, listed_source
from pipeline.storage.row_columns import Columns, InvalidColumn
from pipeline.storage.shards import ShardNumber

_RANGE = "PartitionKey eq @partition and RowKey ge @first and RowKey lt @end"
_COLUMNS = ["PartitionKey", "RowKey", "job", "container", "name", "since", "run", "service_seconds", "resent_at"]
# Rows of one entity-group transaction.
MAX_TRANSACTION_ROWS = 100
MAX_NAME_LENGTH = 1024


@dataclass(frozen=True)
class WaitingJob:
    """A list row of a job that waits since `since`.

    `service_seconds` is the time lost to faults of services. `resent_at` is when its message was last sent again.
    """

    key: JobKey
    list_key: str
    container: str
    name: str
    since: datetime
    run: str = ""
    service_seconds: float = 0.0
    resent_at: datetime = LONG_AGO

    @property
    def message_sent(self) -> datetime:
        """The time since which the job's last message should be in the queue."""
        return max(self.since, self.resent_at)

    @classmethod
    def from_row(cls, row: Any) -> Self | None:  # noqa: ANN401 - an entity of the SDK
        """Read a list row; None if a column is invalid, such as after an edit by hand: no message can name its job."""
        columns, key = Columns(row), listed_key(row)
        try:
            job = cls(
                key,
                row["RowKey"],
                *listed_source(key, columns),
                columns.moment("since"),
                columns.text("run", ""),
                columns.seconds("service_seconds"),
                columns.moment("resent_at", LONG_AGO),
            )
        except InvalidColumn:
            return None
        return job if len(job.name) <= MAX_NAME_LENGTH and 0 <= job.service_seconds < inf else None


class WaitingJobs:
    """The jobs of all recipes that are queued, or whose worker has died.

    `resent_at` is a column of the list row only. The row moves whenever the state changes, so that the column tells
    about the present wait, and writing it disturbs no worker.
    """

    def __init__(self, account: Account, table: str, shards: ShardNumber, recipes: Sequence[str]) -> None:
        self._table: TableClient = account.table(table)
        self._shards, self._recipes = shards, tuple(recipes)

    async def queued(self, before: datetime) -> AsyncIterator[list[WaitingJob]]:
        """Yield the jobs that have been queued since before a time, in pages."""
        for partition in await self._partitions():
            async for page in self._listed(partition, "queued", before):
                yield page

    async def abandoned(self, before: datetime, now: datetime) -> AsyncIterator[list[WaitingJob]]:
        """Yield the running jobs that were claimed before a time, and whose claims have expired, in pages."""
        for partition in await self._partitions():
            async for page in self._listed(partition, "running", before):
                # Heartbeats change the job's own row only.
                yield [job for job in page if await self._claim_expired(job, now)]

    async def confirm(self, job: WaitingJob) -> bool:
        """Return True if the job still waits, by its own row; otherwise delete the list row, which an edit has left."""
        partition = await self._partition(job.key)
        with map_errors("reading the ledger"), IgnoreMissing():
            entry = Entry.from_row(await self._table.get_entity(partition, job.key.row))
            # The list row of a running job may tell about an earlier claim, until the first heartbeat.
            if entry.state in ("queued", "running") and job.list_key in (entry.listed, entry.list_key):
                return True
        with map_errors("writing the ledger"):
            await self._table.delete_entity(partition, job.list_key)
        return False

    async def mark_resent(self, jobs: Sequence[WaitingJob], moment: datetime) -> None:
        """Record that the messages of jobs were sent again. Jobs that have changed their state are left out."""
        changes: dict[str, list[dict[str, Any]]] = {}
        for job in jobs:
            partition = await self._partition(job.key)
            row = {"PartitionKey": partition, "RowKey": job.list_key, "resent_at": moment}
            changes.setdefault(partition, []).append(row)
        for rows in changes.values():
            for start in range(0, len(rows), MAX_TRANSACTION_ROWS):
                await self._mark(rows[start : start + MAX_TRANSACTION_ROWS])

    async def _mark(self, rows: list[dict[str, Any]]) -> None:
        with map_errors("writing the ledger"):
            while rows:
                try:
                    await self._table.submit_transaction([("update", row, {"mode": UpdateMode.MERGE}) for row in rows])
                except TableTransactionError as error:
                    if error.status_code != 404:
                        raise
                    del rows[error.index]
                    continue
                return

    async def _partitions(self) -> list[str]:
        shards = await self._shards.for_writing()
        return [partition for recipe in self._recipes for partition in shards.partitions(recipe)]

    async def _partition(self, key: JobKey) -> str:
        return key.partition((await self._shards.for_writing()).number)

    async def _listed(self, partition: str, state: State, before: datetime) -> AsyncIterator[list[WaitingJob]]:
        start = state_list_prefix(state)
        values = {"partition": partition, "first": start + position_at(before), "end": start + LIST_MARK}
        with map_errors("reading the ledger"):
            async for page in self._table.query_entities(_RANGE, parameters=values, select=_COLUMNS).by_page():
                yield [job async for row in page if (job := WaitingJob.from_row(row))]

    async def _claim_expired(self, job: WaitingJob, now: datetime) -> bool:
        partition = await self._partition(job.key)
        with map_errors("reading the ledger"), IgnoreMissing():
            entry = Entry.from_row(await self._table.get_entity(partition, job.key.row))
            return entry.state == "running" and entry.expires <= now
        return False
