"""Table of slot status and of requests to recycle sessions; it shares the table of the runs, which stays small.

Each slot has one row, which the holder of its lease replaces. One further row holds all requests.
"""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from azure.core.exceptions import ResourceModifiedError
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient

from pipeline.storage.account import Account, IgnoreMissing, if_unchanged, ignore_existing, map_errors

PARTITION, REQUESTS_KEY = "~slots~", "asked"
# Requests older than this are dropped.
REQUEST_TTL_SECONDS = 3600.0
_OPERATION = "using the table of slot status"


class SlotStatusTable:
    """Rows of slot status, and the row of recycle requests."""

    def __init__(self, account: Account, table: str) -> None:
        self._table: TableClient = account.table(table)

    async def publish(self, rows: Mapping[str, dict[str, Any]]) -> None:
        """Write the status rows of slots, by their names, in transactions of 100."""
        written = [
            ("upsert", {**_key(name), "status": json.dumps(status, ensure_ascii=False)}, {"mode": UpdateMode.REPLACE})
            for name, status in rows.items()
        ]
        with map_errors(_OPERATION):
            for first in range(0, len(written), 100):
                await self._table.submit_transaction(written[first : first + 100])

    async def read_all(self) -> tuple[dict[str, dict[str, Any]], dict[str, tuple[int, float]]]:
        """Read the status of all slots and all recycle requests in one range read.

        Returns:
            The status by slot name, and by slot name the generation to recycle and the time of the request in seconds
            since 1970.
        """
        query = "PartitionKey eq @partition"
        with map_errors(_OPERATION):
            rows = {
                row["RowKey"]: json.loads(row["status"])
                async for row in self._table.query_entities(query, parameters={"partition": PARTITION})
            }
        return {_name(key): status for key, status in rows.items() if key != REQUESTS_KEY}, _read(
            rows.get(REQUESTS_KEY, {})
        )

    async def recycle_requests(self) -> dict[str, int]:
        """Return the slots whose sessions are to be recycled, with the generations of those sessions."""
        requests, _ = await self._requests()
        return {name: generation for name, (generation, _) in requests.items()}

    async def request_recycling(self, name: str, generation: int) -> float:
        """Request that a slot's session of a generation is recycled.

        Returns:
            The time of the first such request, in seconds since 1970.
        """
        while True:
            requests, condition = await self._requests()
            now = time.time()
            if name in requests and requests[name][0] == generation:
                return requests[name][1]
            recent = {each: request for each, request in requests.items() if now - request[1] < REQUEST_TTL_SECONDS}
            row = {**_key(REQUESTS_KEY), "status": json.dumps({**recent, name: (generation, now)})}
            with map_errors(_OPERATION), suppress(ResourceModifiedError), IgnoreMissing():
                await self._table.update_entity(row, **condition)
                return now

    async def _requests(self) -> tuple[dict[str, tuple[int, float]], dict[str, Any]]:
        """Read the requests, and the ETag condition for replacing their row (optimistic concurrency)."""
        while True:
            with map_errors(_OPERATION):
                with IgnoreMissing():
                    row = await self._table.get_entity(PARTITION, REQUESTS_KEY)
                    return _read(json.loads(row["status"])), if_unchanged(str(row.metadata["etag"]))
                with ignore_existing():
                    await self._table.create_entity({**_key(REQUESTS_KEY), "status": "{}"})


def _read(requests: dict[str, Any]) -> dict[str, tuple[int, float]]:
    return {name: (int(generation), float(since)) for name, (generation, since) in requests.items()}


def _key(name: str) -> dict[str, str]:
    """Return the keys of a slot's row. A key must not hold a slash."""
    return {"PartitionKey": PARTITION, "RowKey": name.replace("/", "~")}


def _name(key: str) -> str:
    return key.replace("~", "/")
