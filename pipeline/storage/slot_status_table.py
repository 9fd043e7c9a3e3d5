"""What processes tell of their slots, and what they are asked for: rows beside the runs, in the table that stays small.

A row per slot, which whoever holds the slot replaces, so that there are never more of them than slots; and one for all
that is asked.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient

from pipeline.storage.account import Account, map_errors

PARTITION, REQUESTS_KEY = "~slots~", "asked"
# What was asked for so long ago, in seconds, is forgotten.
REQUEST_TTL_SECONDS = 3600.0
_DOING = "telling what goes on in the slots"


class SlotStatusTable:
    """The rows."""

    def __init__(self, account: Account, table: str) -> None:
        self._table: TableClient = account.table(table)

    async def publish(self, rows: Mapping[str, dict[str, Any]]) -> None:
        """Replace what is told of these slots, by their names."""
        written = [
            ("upsert", {**_key(name), "told": json.dumps(told, ensure_ascii=False)}, {"mode": UpdateMode.REPLACE})
            for name, told in rows.items()
        ]
        with map_errors(_DOING):
            for first in range(0, len(written), 100):
                await self._table.submit_transaction(written[first : first + 100])

    async def read_all(self) -> tuple[dict[str, dict[str, Any]], dict[str, tuple[int, float]]]:
        """What is told of every slot, and what is asked (see `asks`): one range read."""
        query = "PartitionKey eq @partition"
        with map_errors(_DOING):
            rows = {
                row["RowKey"]: json.loads(row["told"])
                async for row in self._table.query_entities(query, parameters={"partition": PARTITION})
            }
        return {_name(key): told for key, told in rows.items() if key != REQUESTS_KEY}, _read(
            rows.get(REQUESTS_KEY, {})
        )

    async def recycle_requests(self) -> dict[str, int]:
        """The slots whose sessions somebody wants to be ended, and the generations of those sessions."""
        found, _ = await self._asks()
        return {name: generation for name, (generation, _) in found.items()}

    async def request_recycling(self, name: str, generation: int) -> float:
        """Ask for the end of a slot's session: since when that is asked, in seconds since 1970."""
        while True:
            found, condition = await self._asks()
            now = time.time()
            if name in found and found[name][0] == generation:
                return found[name][1]
            recent = {each: ask for each, ask in found.items() if now - ask[1] < REQUEST_TTL_SECONDS}
            row = {**_key(REQUESTS_KEY), "told": json.dumps({**recent, name: (generation, now)})}
            with map_errors(_DOING):
                try:
                    await self._table.update_entity(row, mode=UpdateMode.REPLACE, **condition)
                except (ResourceModifiedError, ResourceNotFoundError):
                    continue
            return now

    async def _asks(self) -> tuple[dict[str, tuple[int, float]], dict[str, Any]]:
        """What is asked: for each slot a generation and since when; and the condition to change that under."""
        while True:
            with map_errors(_DOING):
                try:
                    row = await self._table.get_entity(PARTITION, REQUESTS_KEY)
                    same = {"etag": row.metadata["etag"], "match_condition": MatchConditions.IfNotModified}
                    return _read(json.loads(row["told"])), same
                except ResourceNotFoundError as error:
                    if error.error_code == "TableNotFound":  # type: ignore[attr-defined]
                        raise
                try:
                    await self._table.create_entity({**_key(REQUESTS_KEY), "told": "{}"})
                except ResourceExistsError:
                    continue


def _read(asks: dict[str, Any]) -> dict[str, tuple[int, float]]:
    return {name: (int(generation), float(since)) for name, (generation, since) in asks.items()}


def _key(name: str) -> dict[str, str]:
    """A row's keys; no key may hold a slash."""
    return {"PartitionKey": PARTITION, "RowKey": name.replace("/", "~")}


def _name(key: str) -> str:
    return key.replace("~", "/")
