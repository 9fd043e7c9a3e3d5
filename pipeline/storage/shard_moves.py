"""Move the rows of a ledger to the partitions of another number of shards.

A row is written to its new partition before it is deleted from the old one, so that a move that ends at any point can
be repeated. Rows move as they are, with the columns of any version of the app.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from azure.core import MatchConditions
from azure.data.tables import TableTransactionError, UpdateMode
from azure.data.tables.aio import TableClient

from pipeline.storage.account import Account, error_code, map_errors
from pipeline.storage.ledger_queries import next_partition
from pipeline.storage.list_row import listed_key
from pipeline.storage.row_writer import CONFLICT_CODES

MAX_TRANSACTION_ROWS = 100
# Size limit of a transaction, below the 4 MiB of the service, and the overhead of each row in it.
MAX_TRANSACTION_BYTES, ROW_OVERHEAD_BYTES = 3_500_000, 1_500


@dataclass(frozen=True)
class PartitionMove:
    """Result of moving the rows of a partition: how many have moved, and until when claims keep others in place."""

    moved: int
    claimed_until: datetime | None = None


class ShardMoves:
    """Moves rows within the table of a ledger that nothing else writes."""

    def __init__(self, account: Account, table: str) -> None:
        self._table: TableClient = account.table(table)

    async def partitions(self) -> list[str]:
        """Return all partitions of jobs."""
        found, partition = list[str](), await next_partition(self._table, "")
        while partition:
            found.append(partition)
            partition = await next_partition(self._table, partition)
        return found

    async def move(self, partition: str, shards: int) -> PartitionMove:
        """Move the rows of a partition whose place is another one with this number of shards.

        A job stays, with its list rows, while its claim holds. A row that changes meanwhile stays, too: repeat the move
        until it moves nothing.
        """
        now, moved, claimed = datetime.now(UTC), 0, dict[str, datetime]()
        waiting: dict[str, list[Any]] = {}
        query = self._table.query_entities("PartitionKey eq @partition", parameters={"partition": partition})
        with map_errors("reading the ledger"):
            async for row in query:
                key = listed_key(row)
                if row.get("state") == "running" and (expires := _moment(row.get("expires"))) > now:
                    claimed[key.row] = expires
                # The rows of lists follow those of jobs.
                target = key.partition(shards)
                if target == partition or key.row in claimed:
                    continue
                rows = waiting.setdefault(target, [])
                rows.append(row)
                if len(rows) == MAX_TRANSACTION_ROWS:
                    moved += await self._move(partition, target, waiting.pop(target))
        for target, rows in waiting.items():
            moved += await self._move(partition, target, rows)
        return PartitionMove(moved, max(claimed.values(), default=None))

    async def _move(self, partition: str, target: str, rows: Sequence[Any]) -> int:
        moved = 0
        for chunk in _transactions(rows):
            writes = [("upsert", {**row, "PartitionKey": target}, {"mode": UpdateMode.REPLACE}) for row in chunk]
            with map_errors("writing the ledger"):
                await self._table.submit_transaction(writes)
            moved += await self._delete(partition, chunk)
        return moved

    async def _delete(self, partition: str, rows: Sequence[Any]) -> int:
        """Delete moved rows that have not changed since. Returns their number."""
        deletions = [
            (
                "delete",
                {"PartitionKey": partition, "RowKey": row["RowKey"]},
                {"etag": row.metadata["etag"], "match_condition": MatchConditions.IfNotModified},
            )
            for row in rows
        ]
        with map_errors("writing the ledger"):
            try:
                await self._table.submit_transaction(deletions)
            except TableTransactionError as error:
                if error_code(error) not in CONFLICT_CODES:
                    raise
                if len(rows) == 1:
                    return 0
                return sum([await self._delete(partition, [row]) for row in rows])
        return len(rows)


def _transactions(rows: Sequence[Any]) -> Iterator[list[Any]]:
    """Split rows into transactions of a size that storage accepts."""
    chunk, size = list[Any](), 0
    for row in rows:
        row_size = ROW_OVERHEAD_BYTES + sum(map(_size, row.values()))
        if chunk and size + row_size > MAX_TRANSACTION_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += row_size
    if chunk:
        yield chunk


def _size(value: Any) -> int:  # noqa: ANN401 - a value of a table
    """Return the size of a value in a request, about: the SDK escapes every non-ASCII character to six bytes."""
    if isinstance(value, bytes):
        return len(value) * 4 // 3 + 4
    return len(json.dumps(value)) if isinstance(value, str) else 40


def _moment(value: Any) -> datetime:  # noqa: ANN401 - a value of a table
    return value if isinstance(value, datetime) else datetime.min.replace(tzinfo=UTC)
