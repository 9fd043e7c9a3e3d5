"""Ended jobs of all partitions of the ledger, in batches: what retention reads and deletes."""

from datetime import datetime
from typing import Any

from azure.core import MatchConditions
from azure.data.tables import TableTransactionError
from azure.data.tables.aio import TableClient

from pipeline.storage.account import Account, map_errors
from pipeline.storage.entry import LIST_MARK, UNREADABLE_PARTITION, Entry
from pipeline.storage.ledger import Ledger
from pipeline.storage.ledger_queries import next_partition

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
        query = "PartitionKey eq @group and RowKey gt @first and RowKey lt @end"
        values = {"group": group, "first": f"{digest}~", "end": f"{digest}~~"}
        with map_errors("reading the ledger"):
            async for _ in self._table.query_entities(query, parameters=values, select=["RowKey"], results_per_page=1):
                return True
        return False

    async def delete(self, entries: list[Entry]) -> int:
        """Delete the rows of jobs of one partition, many per transaction. A row that has changed since stays.

        Returns:
            The number of deleted jobs.
        """
        count, batch, size = 0, list[Entry](), 0
        for entry in entries:
            rows = 1 + len(entry.listed)
            if size + rows > MAX_TRANSACTION_ROWS:
                count += await self._delete(batch)
                batch, size = [], 0
            batch.append(entry)
            size += rows
        return count + (await self._delete(batch) if batch else 0)

    async def _delete(self, batch: list[Entry]) -> int:
        changes: list[Any] = []
        for entry in batch:
            keys = {"PartitionKey": entry.key.partition, "RowKey": entry.key.row}
            changes.append(("delete", keys, {"etag": entry.row_etag, "match_condition": MatchConditions.IfNotModified}))
            changes += [("delete", {**keys, "RowKey": key}) for key in entry.listed]
        with map_errors("writing the ledger"):
            try:
                await self._table.submit_transaction(changes)
            except TableTransactionError:
                # One row has changed or is gone: the others are deleted one by one. Any other error occurs there again.
                return sum([await self._ledger.delete(entry) for entry in batch])
        return len(batch)
