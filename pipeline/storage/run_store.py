"""Store of plans and runs: their JSON documents, and one row per batch of a run.

A document is replaced by optimistic concurrency. The batches of a run form a partition; each row holds the outcome of
every job in the batch, so that a message delivered twice counts once. Summary rows repeat the outcomes of up to 200
batches of a page each, in the same transaction, so that the progress of a run is read from a row per page.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Literal, Self

from azure.core.exceptions import ResourceExistsError, ResourceModifiedError
from azure.data.tables import TableTransactionError, UpdateMode
from azure.data.tables.aio import TableClient

from pipeline.errors import Unreadable
from pipeline.storage.account import Account, IgnoreMissing, already_exists, delete_rows, if_unchanged, map_errors
from pipeline.storage.packed_documents import Documents, pack
from pipeline.storage.queue import Item

Kind = Literal["run", "plan", "plan_part", "schedule", "queue", "pauses", "recipes", "retention", "hours"]
Outcome = Literal["done", "skipped", "failed"]
# The row of a batch holds one letter per job, or a dot for an unfinished job.
OUTCOME_LETTERS: dict[Outcome, str] = {"done": "d", "skipped": "s", "failed": "f"}
UNFINISHED = "."
# A transaction has at most 100 rows; the batches of one may be in two summary rows.
MAX_TRANSACTION_BATCHES = 98
# Size limit of a transaction, below the 4 MiB of the service, and the overhead of each row in it.
MAX_TRANSACTION_BYTES, ROW_OVERHEAD_BYTES = 3_500_000, 1_000
_OPERATION = "using the table of runs"
# Names of summary rows begin with this mark, behind those of batches. A row has at most 252 columns of its own.
SUMMARY_MARK = "~"
BATCHES_PER_SUMMARY = 200
_COLUMN = "batch"
# Changed by other processes, or deleted.
_CONFLICT_STATUSES = (404, 412)


@dataclass(frozen=True)
class Document:
    """A stored plan or run, and the ETag for replacing it."""

    content: dict[str, Any]
    etag: str


@dataclass(frozen=True)
class Batch:
    """A batch of jobs with the outcome of each. Names sort in the order of creation."""

    run: str
    name: str
    items: tuple[Item, ...]
    outcomes: str
    etag: str = ""

    @property
    def unfinished(self) -> list[int]:
        """The indexes of the unfinished jobs."""
        return [index for index, letter in enumerate(self.outcomes) if letter == UNFINISHED]

    def with_outcomes(self, outcomes: dict[int, Outcome]) -> Self:
        """Add outcomes by index; existing outcomes stay."""
        letters = [
            OUTCOME_LETTERS[outcomes[index]] if letter == UNFINISHED and index in outcomes else letter
            for index, letter in enumerate(self.outcomes)
        ]
        return replace(self, outcomes="".join(letters))


class RunStore:
    """Table of plans, runs and batches. Writes never overwrite a concurrent change (optimistic concurrency)."""

    def __init__(self, account: Account, table: str) -> None:
        self._table: TableClient = account.table(table)
        self._cache: dict[tuple[Kind, str], tuple[float, Document | None]] = {}
        self._cache_lock = asyncio.Lock()

    async def create(self, kind: Kind, key: str, content: dict[str, Any]) -> Document | None:
        """Store a new document; None if the key exists."""
        with map_errors(_OPERATION):
            try:
                written = await self._table.create_entity(_row(kind, key, content))
            except ResourceExistsError as error:
                if not already_exists(error):
                    raise
                return None
            return Document(content, str(written["etag"]))

    async def get(self, kind: Kind, key: str) -> Document | None:
        """Return a document, or None."""
        with map_errors(_OPERATION), IgnoreMissing():
            return _document(await self._table.get_entity(kind, key))
        return None

    async def recent(self, kind: Kind, key: str, seconds: float) -> Document | None:
        """Return a document from a cache of at most this age in seconds. Concurrent callers share one request."""
        async with self._cache_lock:
            fetched, document = self._cache.get((kind, key), (-inf, None))
            if time.monotonic() - fetched > seconds:
                document = await self.get(kind, key)
                self._cache = {
                    each: cached for each, cached in self._cache.items() if time.monotonic() - cached[0] <= seconds
                }
                self._cache[kind, key] = (time.monotonic(), document)
            return document

    async def replace(self, kind: Kind, key: str, before: Document, content: dict[str, Any]) -> Document | None:
        """Replace a document; None if it has changed since it was read."""
        with map_errors(_OPERATION), suppress(ResourceModifiedError), IgnoreMissing():
            written = await self._table.update_entity(_row(kind, key, content), **if_unchanged(before.etag))
            return Document(content, str(written["etag"]))
        return None

    async def page(self, kind: Kind, limit: int, after: str = "") -> list[tuple[str, Document]]:
        """Return up to `limit` documents with their keys, in key order, behind the key `after`."""
        query = "PartitionKey eq @kind and RowKey gt @after"
        page = []
        with map_errors(_OPERATION):
            rows = self._table.query_entities(query, parameters={"kind": kind, "after": after}, results_per_page=limit)
            async for row in rows:
                page.append((row["RowKey"], _document(row)))
                if len(page) >= limit:
                    break
        return page

    async def delete(self, kind: Kind, key: str) -> None:
        """Delete a document, if it exists."""
        with map_errors(_OPERATION):
            await self._table.delete_entity(kind, key)

    async def delete_behind(self, kind: Kind, after: str, most: int) -> int:
        """Delete at most `most` documents behind the key `after`. Returns their number."""
        query = "PartitionKey eq @kind and RowKey gt @after"
        with map_errors(_OPERATION):
            return await delete_rows(self._table, query, {"kind": kind, "after": after}, most)

    async def delete_batches(self, run: str, most: int) -> int:
        """Delete at most `most` batches of a run. Returns their number; a number below `most` means: none are left."""
        with map_errors(_OPERATION):
            return await delete_rows(self._table, "PartitionKey eq @first", {"first": _partition(run)}, most)

    async def create_batches(self, batches: Sequence[Batch]) -> list[Batch]:
        """Store new batches of a run in order, many per transaction. Returns the stored ones.

        If a transaction holds a batch that exists already, neither it nor any later transaction is stored.
        """
        stored: list[Batch] = []
        for chunk in _transactions(batches):
            with map_errors(_OPERATION):
                try:
                    created = [("create", _batch_row(each)) for each in chunk]
                    written = await self._table.submit_transaction([*created, *_summary_changes(chunk)])
                except TableTransactionError as error:
                    if getattr(error, "error_code", None) == "EntityAlreadyExists":
                        return stored
                    raise
            stored += [
                replace(each, etag=str(facts["etag"])) for each, facts in zip(chunk, written[: len(chunk)], strict=True)
            ]
        return stored

    async def batch(self, run: str, name: str) -> Batch | None:
        """Return a batch, or None."""
        with map_errors(_OPERATION), IgnoreMissing():
            return _batch(await self._table.get_entity(_partition(run), name))
        return None

    async def batches(self, run: str, first: str = "", last: str = "~") -> AsyncIterator[Batch]:
        """Yield the batches of a run between two names, inclusive."""
        query = "PartitionKey eq @run and RowKey ge @first and RowKey le @last"
        values = {"run": _partition(run), "first": first, "last": last}
        with map_errors(_OPERATION):
            async for row in self._table.query_entities(query, parameters=values):
                yield _batch(row)

    async def outcomes(self, run: str, after: str = "") -> AsyncIterator[tuple[str, str]]:
        """Yield name and outcomes of every batch of a run behind the name `after`, from the summary rows."""
        query = "PartitionKey eq @run and RowKey ge @first"
        values = {"run": _partition(run), "first": _summary_key(after) if after else SUMMARY_MARK}
        with map_errors(_OPERATION):
            async for row in self._table.query_entities(query, parameters=values):
                page = row["RowKey"].removeprefix(SUMMARY_MARK).rpartition("-")[0]
                for column in sorted(column for column in row if column.startswith(_COLUMN)):
                    name = f"{page}-{column.removeprefix(_COLUMN)}"
                    if name > after:
                        yield name, str(row[column] or "")

    async def settle(self, batch: Batch, outcomes: dict[int, Outcome]) -> Batch:
        """Add outcomes to a batch and return it as stored.

        This takes one request, a transaction of two rows; after a conflict the batch is read and written again.
        """
        while True:
            written = await self._replace_batch(batch.with_outcomes(outcomes))
            if written:
                return written
            stored = await self.batch(batch.run, batch.name)
            if stored is None:
                return batch.with_outcomes(outcomes)
            batch = stored

    async def _replace_batch(self, batch: Batch) -> Batch | None:
        # The jobs of a batch never change, and the partition of a run takes a limited number of KiB per second.
        row = {"PartitionKey": _partition(batch.run), "RowKey": batch.name, "outcomes": batch.outcomes}
        condition = {**if_unchanged(batch.etag), "mode": UpdateMode.MERGE}
        with map_errors(_OPERATION):
            try:
                written = await self._table.submit_transaction([("update", row, condition), *_summary_changes([batch])])
            except TableTransactionError as error:
                if error.status_code not in _CONFLICT_STATUSES:
                    raise
                return None
            return replace(batch, etag=str(written[0]["etag"]))


def _transactions(batches: Sequence[Batch]) -> Iterator[list[Batch]]:
    """Split batches into transactions of at most 100 rows and 4 MiB, summary rows included.

    Both limits are the service's (Microsoft, "Performing entity group transactions").
    """
    chunk: list[Batch] = []
    size = 0
    for batch in batches:
        # Binary columns travel in base64.
        row_size = len(_batch_row(batch)["items"]) * 4 // 3 + ROW_OVERHEAD_BYTES
        if chunk and (len(chunk) == MAX_TRANSACTION_BATCHES or size + row_size > MAX_TRANSACTION_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(batch)
        size += row_size
    if chunk:
        yield chunk


def _summary_key(batch: str) -> str:
    """Return the row key of the summary row that includes a batch."""
    page, _, number = batch.partition("-")
    return f"{SUMMARY_MARK}{page}-{int(number) // BATCHES_PER_SUMMARY:03d}"


def _summary_changes(batches: Sequence[Batch]) -> list[tuple[Any, ...]]:
    """Return the changes that write the outcomes of batches of one run into their summary rows."""
    rows: dict[str, dict[str, Any]] = {}
    for batch in batches:
        key = _summary_key(batch.name)
        row = rows.setdefault(key, {"PartitionKey": _partition(batch.run), "RowKey": key})
        row[f"{_COLUMN}{batch.name.partition('-')[2]}"] = batch.outcomes
    return [("upsert", row, {"mode": UpdateMode.MERGE}) for row in rows.values()]


def _partition(run: str) -> str:
    return f"run {run}"


def _row(kind: Kind, key: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"PartitionKey": kind, "RowKey": key, "content": json.dumps(content, ensure_ascii=False)}


def _document(row: Any) -> Document:  # noqa: ANN401 - an entity of the SDK
    """Return the document of a row. Content that is no JSON object, such as after an edit by hand, counts as empty."""
    try:
        content = json.loads(row["content"])
    except (KeyError, TypeError, ValueError):
        content = {}
    return Document(content if isinstance(content, dict) else {}, row.metadata["etag"])


def _batch_row(batch: Batch) -> dict[str, Any]:
    items = [item.model_dump(exclude_defaults=True) for item in batch.items]
    return {
        "PartitionKey": _partition(batch.run),
        "RowKey": batch.name,
        "items": pack({"items": items}),
        "outcomes": batch.outcomes,
    }


def _batch(row: Any) -> Batch:  # noqa: ANN401
    run = row["PartitionKey"].removeprefix(_partition(""))
    try:
        items = tuple(Item.read(each) for each in Documents("items", row["items"]).sequence("items"))
        outcomes = str(row["outcomes"])
    except (KeyError, TypeError, ValueError):
        items, outcomes = (), ""
    if len(outcomes) != len(items) or not items:
        raise Unreadable(f"the batch {row['RowKey']} of run {run} has invalid columns", kind="unreadable_run")
    return Batch(run, row["RowKey"], items, outcomes, row.metadata["etag"])
