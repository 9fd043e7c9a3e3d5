"""Conditional writes of the ledger: a job's row, and with it, in one transaction, its list row."""

from dataclasses import replace
from http.client import HTTPException
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.data.tables import TableTransactionError, UpdateMode
from azure.data.tables.aio import TableClient

from pipeline.storage.account import IgnoreMissing, error_code, if_unchanged, map_errors
from pipeline.storage.entry import Entry
from pipeline.storage.error_codes import MISSING_CODES
from pipeline.storage.keys import JobKey
from pipeline.storage.list_row import list_row
from pipeline.storage.shards import ShardNumber
from pipeline.telemetry import logger

log = logger(__name__)
# Codes of a write whose condition does not hold: the row has changed, exists already, or is gone.
CONFLICT_CODES = ("EntityAlreadyExists", "UpdateConditionNotSatisfied", "ConditionNotMet", *MISSING_CODES)


class RowWriter:
    """Writes rows on the condition that they are as they were read. A row that has none is created."""

    def __init__(self, table: TableClient, shards: ShardNumber) -> None:
        self._table, self._shards = table, shards

    async def get(self, key: JobKey) -> Entry | None:
        """Return the row of a job, or None."""
        for partition in (await self._shards.current()).candidates(key):
            with map_errors("reading the ledger"), IgnoreMissing():
                return Entry.from_row(await self._table.get_entity(partition, key.row))
        return None

    async def write(self, entry: Entry, *, lists: bool = True) -> Entry | None:
        """Write a row and return it; None on a conflict (see `put`)."""
        return (await self.put(entry, lists=lists))[0]

    async def put(self, entry: Entry, *, lists: bool = True) -> tuple[Entry | None, Entry | None]:
        """Write a row. Returns it or, on a conflict, None and the row that is stored instead, if there is one.

        With `lists`, its list row moves in the same transaction, unless it is in its place already. That of an ended
        job is written in any case: the job may have ended again within the millisecond, in a later run.
        """
        moved = entry.listed != entry.list_key
        moves = lists and (moved or entry.state in ("done", "failed"))
        obsolete = entry.listed if moves and moved else ""
        entry = replace(entry, listed=entry.list_key) if moves else entry
        partition = await self._partition(entry.key)
        with map_errors("writing the ledger"):
            try:
                etag = await (
                    self._write_both(entry, partition, obsolete) if moves else self._write_row(entry, partition)
                )
                return replace(entry, row_etag=etag), None
            except HttpResponseError as error:
                if error_code(error) not in CONFLICT_CODES:
                    raise
            except HTTPException:
                log.warning(
                    "malformed response to the update of %s; reading the row again",
                    entry.key.id,
                    extra={"event": "ledger.response_malformed"},
                )
        # The SDK repeats a write whose response was lost, and the repetition conflicts with the write itself.
        stored = await self.get(entry.key)
        own = stored and (stored.owner, stored.generation, stored.state) == (entry.owner, entry.generation, entry.state)
        return (stored if own and entry.owner else None), stored

    async def delete(self, entry: Entry) -> bool:
        """Delete a row and its list row. Returns False if the row has changed since it was read, or is gone."""
        condition = {"etag": entry.row_etag, "match_condition": MatchConditions.IfNotModified}
        keys = {"PartitionKey": await self._partition(entry.key), "RowKey": entry.key.row}
        changes: list[Any] = [("delete", keys, condition)]
        if entry.listed:
            changes.append(("delete", {**keys, "RowKey": entry.listed}))
        with map_errors("writing the ledger"):
            try:
                await self._submit(changes)
            except TableTransactionError as error:
                if error_code(error) not in CONFLICT_CODES:
                    raise
                return False
        return True

    async def _partition(self, key: JobKey) -> str:
        return key.partition((await self._shards.for_writing()).number)

    async def _write_row(self, entry: Entry, partition: str) -> str:
        row, condition = entry.to_row(partition), _unchanged(entry)
        if not condition:
            return str((await self._table.create_entity(row))["etag"])
        return str((await self._table.update_entity(row, **condition))["etag"])

    async def _write_both(self, entry: Entry, partition: str, obsolete: str) -> str:
        """Write the job's row conditionally, upsert its list row and delete the obsolete one, in one transaction."""
        condition = _unchanged(entry)
        changes: list[Any] = [
            ("update", entry.to_row(partition), condition) if condition else ("create", entry.to_row(partition)),
            ("upsert", list_row(entry, partition), {"mode": UpdateMode.REPLACE}),
        ]
        if obsolete:
            changes.append(("delete", {"PartitionKey": partition, "RowKey": obsolete}))
        return await self._submit(changes)

    async def _submit(self, changes: list[Any]) -> str:
        """Submit a transaction and return the ETag of its first row. The last row may be one to delete that is gone."""
        try:
            return str((await self._table.submit_transaction(changes))[0].get("etag", ""))
        except TableTransactionError as error:
            last = len(changes) - 1
            if error.status_code != 404 or error.index != last or not last or changes[last][0] != "delete":
                raise
            return await self._submit(changes[:last])


def _unchanged(entry: Entry) -> dict[str, Any]:
    """Return the ETag condition for replacing a row; empty for a new row."""
    return if_unchanged(entry.row_etag) if entry.row_etag else {}
