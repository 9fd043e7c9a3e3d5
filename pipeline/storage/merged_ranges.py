"""Range reads of several partitions, merged in the order of their row keys."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Sequence
from typing import Any

from azure.data.tables.aio import TableClient

from pipeline.storage.account import map_errors
from pipeline.storage.row_reads import table_order


async def merged(
    table: TableClient,
    partitions: Sequence[str],
    condition: str,
    values: dict[str, Any],
    columns: list[str] | None = None,
    page_size: int = 1000,
) -> AsyncIterator[Any]:
    """Yield the rows of partitions that meet a condition, in the order of their row keys.

    The first pages are read at the same time, and each later one when it is needed. At most `page_size` rows of each
    partition are held.
    """

    def rows_of(partition: str) -> Any:  # noqa: ANN401 - an iterator of the SDK
        query, parameters = f"PartitionKey eq @partition and {condition}", {**values, "partition": partition}
        found = table.query_entities(query, parameters=parameters, select=columns, results_per_page=page_size)
        return aiter(found)

    async def following(rows: Any) -> Any:  # noqa: ANN401 - an entity of the SDK
        with map_errors("reading the ledger"):
            return await anext(rows, None)

    ranges = [rows_of(partition) for partition in partitions]
    firsts = await asyncio.gather(*map(following, ranges))
    heads = [(table_order(row["RowKey"]), index, row) for index, row in enumerate(firsts) if row is not None]
    heapq.heapify(heads)
    last = ""
    while heads:
        _, index, row = heads[0]
        if row["RowKey"] != last:  # while rows move to other shards, a row may be in two of them
            last = row["RowKey"]
            yield row
        if (row := await following(ranges[index])) is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, (table_order(row["RowKey"]), index, row))
