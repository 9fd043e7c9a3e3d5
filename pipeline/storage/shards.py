"""Shards of the ledger: how many there are, in a row that all processes read.

The number is fixed when the ledger is first used, and only `image-pipeline ledger reshard` changes it. It is no
setting: two processes with two numbers would both claim a job. Therefore no process writes with a number that it has
read more than `VALID_SECONDS` ago, and while rows move to other shards, none writes at all.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from azure.core.exceptions import HttpResponseError, ResourceExistsError
from azure.data.tables.aio import TableClient

from pipeline.errors import PipelineError, StateConflict, StorageUnavailable
from pipeline.storage.account import IgnoreMissing, already_exists, if_unchanged, map_errors
from pipeline.storage.keys import JobKey
from pipeline.storage.list_keys import LIST_MARK

DEFAULT_SHARDS, MAX_SHARDS = 16, 64
# A process reads the number at most this often, and every second while rows move.
CACHE_SECONDS, MOVING_CACHE_SECONDS = 20.0, 1.0
# While the row cannot be read, the last number is used for this long.
VALID_SECONDS = 60.0
RETRY_AFTER_SECONDS = 30.0
# No recipe has such a name, and no list of jobs includes this partition.
_PARTITION, _ROW = f"{LIST_MARK}shards", "number"


@dataclass(frozen=True)
class Shards:
    """The number of shards, and the number to which the ledger is being resharded, or 0."""

    number: int
    target: int = 0

    def partitions(self, group: str) -> list[str]:
        """Return all partitions of a recipe, or of a group of ad-hoc recipes."""
        return JobKey.partitions(group, max(self.number, self.target))

    def candidates(self, key: JobKey) -> list[str]:
        """Return the partitions that may hold a job: one, or the new and the old one while rows move."""
        numbers = (self.target, self.number) if self.target else (self.number,)
        return list(dict.fromkeys(map(key.partition, numbers)))


class ShardNumber:
    """Reads the number of shards of a ledger, and changes it. `clock` returns seconds."""

    def __init__(self, table: TableClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._table, self._clock = table, clock
        self._shards = Shards(0)
        self._etag, self._read_at = "", -inf
        self._lock = asyncio.Lock()

    async def current(self) -> Shards:
        """Return the number, at most 20 s old; 60 s while it cannot be read.

        A ledger without a number is new: it gets the default.

        Raises StorageUnavailable if the row is invalid or cannot be read, or if a ledger with jobs has none.
        """
        if not self._is_recent():
            async with self._lock:
                if not self._is_recent():
                    await self._refresh()
        return self._shards

    async def for_writing(self) -> Shards:
        """Return the number for a write. Raises StorageUnavailable while rows move to other shards."""
        shards = await self.current()
        if shards.target:
            raise StorageUnavailable(
                f"the ledger is being resharded from {shards.number} to {shards.target} shards: jobs wait until "
                f"`image-pipeline ledger reshard {shards.target}` has ended",
                kind="ledger_resharding",
                retry_after=RETRY_AFTER_SECONDS,
            )
        return shards

    async def install(self, number: int = DEFAULT_SHARDS) -> Shards:
        """Store the number of a new ledger. Returns the stored number, which may be another one."""
        with map_errors("writing the number of shards"):
            try:
                await self._table.create_entity(_row(Shards(number)))
            except ResourceExistsError as error:
                if not already_exists(error):
                    raise
        return await self.read()

    async def read(self) -> Shards:
        """Read the number now."""
        self._read_at = -inf
        return await self.current()

    async def replace(self, before: Shards, after: Shards) -> None:
        """Store another number. Raises StateConflict if another program has changed it meanwhile."""
        if await self.read() != before:
            raise _changed()
        with map_errors("writing the number of shards"):
            try:
                await self._table.update_entity(_row(after), **if_unchanged(self._etag))
            except HttpResponseError as error:
                if error.status_code != 412:
                    raise
                raise _changed() from error
        await self.read()

    def _is_recent(self) -> bool:
        seconds = MOVING_CACHE_SECONDS if self._shards.target else CACHE_SECONDS
        return self._clock() - self._read_at <= seconds

    async def _refresh(self) -> None:
        began = self._clock()
        try:
            row = await self._get() or await self._create()
        except PipelineError:
            if self._clock() - self._read_at > VALID_SECONDS:
                raise
            return
        self._shards, self._etag, self._read_at = _shards(row), row.metadata["etag"], began

    async def _get(self) -> Any:  # noqa: ANN401 - an entity of the SDK
        with map_errors("reading the number of shards"), IgnoreMissing():
            return await self._table.get_entity(_PARTITION, _ROW)
        return None

    async def _create(self) -> Any:  # noqa: ANN401
        """Store the default for a ledger without jobs, and return the stored row."""
        with map_errors("reading the ledger"):
            query, values = "PartitionKey lt @lists", {"lists": LIST_MARK}
            async for _ in self._table.query_entities(query, parameters=values, select=["RowKey"], results_per_page=1):
                if row := await self._get():  # another process has just stored it
                    return row
                raise StorageUnavailable(
                    f"the ledger has jobs, and its row {_PARTITION}/{_ROW} with the number of shards is missing: "
                    "insert it again, with the column `shards`, before any job starts",
                    kind="shards_unknown",
                )
        with map_errors("writing the number of shards"):
            try:
                await self._table.create_entity(_row(Shards(DEFAULT_SHARDS)))
            except ResourceExistsError as error:
                if not already_exists(error):
                    raise
        return await self._get()


class FixedShards(ShardNumber):
    """A number of shards that is known and never changes, for tools and models."""

    def __init__(self, number: int) -> None:
        """Take the number."""
        self._shards = Shards(number)

    async def current(self) -> Shards:
        """Return the number."""
        return self._shards


def _row(shards: Shards) -> dict[str, Any]:
    row = {"PartitionKey": _PARTITION, "RowKey": _ROW, "shards": shards.number}
    return {**row, "reshard_to": shards.target} if shards.target else row


def _shards(row: Mapping[str, Any]) -> Shards:
    number, target = row.get("shards"), row.get("reshard_to") or 0
    if not (isinstance(number, int) and isinstance(target, int) and 1 <= number <= MAX_SHARDS):
        raise StorageUnavailable(
            f"the row {_PARTITION}/{_ROW} of the ledger has {number!r} in the column `shards`: correct it to the "
            f"number of shards, from 1 to {MAX_SHARDS}, before any job starts",
            kind="shards_unknown",
        )
    return Shards(number, target)


def _changed() -> StateConflict:
    return StateConflict(
        "another program has changed the number of shards: run the command again", kind="shards_changed"
    )
