"""Ended jobs of all partitions of the ledger, in batches: what retention reads and deletes."""

from datetime import datetime
from typing import Any

from azure.core import MatchConditions
from azure.data.tables import TableTransactionError
from azure.data.tables.aio import TableClient

from pipeline.storage.account import Account, map_errors
from pipeline.storage.entry import UNREADABLE_PARTITION, Entry
from pipeline.storage.ledger import Ledger
from pipeline.storage.ledger_queries import next_partition
from pipeline.storage.list_keys import LIST_MARK
from pipeline.storage.merged_ranges import merged

PAGE_ROWS = 1000
MAX_TRANSACTION_ROWS = 100
_COLUMNS = [
    "PartitionKey",
    "RowKey",
    "container",
    "name",
    "state",
    "source_etag",
    "recipe_hash",
    "generation",
    "expires",
    "since",
    "listed",
]
Position = dict[str, str]
"""Continuation token of the table service; empty at the start and at the end of a partition."""


class EndedJobs:
    """Rows of jobs that have been in their state since before some moment, read and deleted in batches."""

    def __init__(self, account: Account, table: str, ledger: Ledger) -> None:
        self._table: TableClient = account.table(table)
        self._ledger = ledger

    async def next_partition(self, after: str) -> str:
        """Return the partition behind `after`, empty at the end. The last one holds unreadable messages."""
        found = await next_partition(self._table, after)
        return found or (UNREADABLE_PARTITION if after < UNREADABLE_PARTITION else "")

    async def page(self, partition: str, before: datetime, position: Position) -> tuple[list[Entry], Position]:
        """Return a page of ended jobs that have been in their state since before a moment, and the next position."""
        query = "PartitionKey eq @partition and RowKey lt @lists and since lt @before"
        values = {"partition": partition, "lists": LIST_MARK, "before": before}
        rows = self._table.query_entities(query, parameters=values, select=_COLUMNS, results_per_page=PAGE_ROWS)
        pages = rows.by_page(position or None)  # type: ignore[arg-type]  # the SDK's tokens are mappings
        with map_errors("reading the ledger"):
            try:
                entries = [Entry.from_row(row) async for row in await anext(pages)]
            except StopAsyncIteration:
                entries = []
        ended = [entry for entry in entries if entry.state not in ("queued", "running")]
        return ended, getattr(pages, "continuation_token", None) or {}

    async def exist(self, recipe: str) -> bool:
        """Return True if an ad-hoc recipe has jobs."""
        group, _, digest = recipe.partition("-")
        partitions = (await self._ledger.shards.current()).partitions(group)
        condition, values = "RowKey gt @first and RowKey lt @end", {"first": f"{digest}~", "end": f"{digest}~~"}
        async for _ in merged(self._table, partitions, condition, values, ["RowKey"], page_size=1):
            return True
        return False

    async def delete(self, entries: list[Entry]) -> int:
        """Delete the rows of jobs, many of a partition per transaction. A row that has changed since stays.

        Returns:
            The number of deleted jobs.
        """
        shards = await self._ledger.shards.for_writing()
        partitions: dict[str, list[Entry]] = {}
        for entry in entries:
            partitions.setdefault(entry.key.partition(shards.number), []).append(entry)
        return sum([await self._delete_in(partition, jobs) for partition, jobs in partitions.items()])

    async def _delete_in(self, partition: str, entries: list[Entry]) -> int:
        count, batch, size = 0, list[Entry](), 0
        for entry in entries:
            rows = 1 + bool(entry.listed)
            if size + rows > MAX_TRANSACTION_ROWS:
                count += await self._delete(partition, batch)
                batch, size = [], 0
            batch.append(entry)
            size += rows
        return count + (await self._delete(partition, batch) if batch else 0)

    async def _delete(self, partition: str, batch: list[Entry]) -> int:
        changes: list[Any] = []
        for entry in batch:
            keys = {"PartitionKey": partition, "RowKey": entry.key.row}
            changes.append(("delete", keys, {"etag": entry.row_etag, "match_condition": MatchConditions.IfNotModified}))
            if entry.listed:
                changes.append(("delete", {**keys, "RowKey": entry.listed}))
        with map_errors("writing the ledger"):
            try:
                await self._table.submit_transaction(changes)
            except TableTransactionError:
                # One row has changed or is gone: the others are deleted one by one. Any other error occurs there again.
                return sum([await self._ledger.delete(entry) for entry in batch])
        return len(batch)
