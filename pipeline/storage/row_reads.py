"""Read rows by their keys with few range reads, whatever other rows stand between them.

Tables and listings sort names differently: `/` is `!2F` in a row key, so "x-y/" comes before "x/" in a listing of blobs
and behind it in the table. The keys of one page of a listing may therefore enclose the rows of a whole neighboring
folder. A response that holds few of the keys ends the range: the next request begins at the next key, first with a
single row, later with twice as many each time.
"""

from bisect import bisect_right
from collections.abc import AsyncIterator, Collection
from typing import Any

from azure.data.tables.aio import TableClient

from pipeline.storage.fast_responses import TakenRows

# Storage returns at most this many rows per request.
MAX_PAGE_ROWS = 1000
_RANGE = "PartitionKey eq @partition and RowKey ge @first and RowKey le @last"


def table_order(key: str) -> bytes:
    """Return the sort key of a row key: tables compare UTF-16 code units."""
    return key.encode("utf-16-be", "surrogatepass")


async def read_rows(
    table: TableClient, partition: str, keys: Collection[str], columns: list[str] | None
) -> AsyncIterator[Any]:
    """Yield the rows of a partition that have one of these row keys, in order.

    Of n keys at most 3 n rows are read, and about n if most keys are neighbors.
    """
    wanted = {table_order(key): key for key in keys}
    order = sorted(wanted)
    position, size, dense = 0, len(order), 0
    while position < len(order):
        values = {"partition": partition, "first": wanted[order[position]], "last": wanted[order[-1]]}
        rows, is_last = await _first_page(table, values, columns, min(size, MAX_PAGE_ROWS))
        found = [row for row in rows if table_order(row["RowKey"]) in wanted]
        for row in found:
            yield row
        if is_last or not rows:
            return
        position = bisect_right(order, table_order(rows[-1]["RowKey"]))
        dense = dense + 1 if 2 * len(found) >= len(rows) else 0
        # A single neighbor is no reason to read more: keys of long names end in digests, in random order.
        size = len(rows) * min(dense, 2) or 1


async def _first_page(
    table: TableClient, values: dict[str, str], columns: list[str] | None, size: int
) -> tuple[list[Any], bool]:
    """Return the first rows of a range, and True if no more follow. A response of storage may be empty."""
    taken = TakenRows()
    pages = table.query_entities(
        _RANGE, parameters=values, select=columns, results_per_page=size, raw_response_hook=taken
    ).by_page()
    async for page in pages:
        decoded = [row async for row in page]
        rows: list[Any] = decoded if taken.rows is None else [*taken.rows]
        more = getattr(pages, "continuation_token", None)
        if rows or not more:
            return rows, not more
    return [], True
