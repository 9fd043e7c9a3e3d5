"""The table of plans and runs: their documents, and one row per batch of a run's jobs.

A document is JSON and is replaced only as it was read. The rows of a run's batches are a partition of their own; each
says of every job in it what came of it, so that a delivery that comes twice counts once.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Literal

from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.data.tables import TableTransactionError, UpdateMode
from azure.data.tables.aio import TableClient

from pipeline.storage.account import Account, delete_rows, map_errors
from pipeline.storage.queue import Item

Kind = Literal["run", "plan", "schedule"]
Outcome = Literal["done", "skipped", "failed"]
# One letter per job in a batch's row; a dot for what is left.
OUTCOME_LETTERS: dict[Outcome, str] = {"done": "d", "skipped": "s", "failed": "f"}
UNFINISHED = "."
MAX_TRANSACTION_ROWS = 100
# Bytes of a transaction, below the 4 MiB that it may have, and of what stands around a row in it.
MAX_TRANSACTION_BYTES, ROW_OVERHEAD_BYTES = 3_500_000, 1_000
_DOING = "using the table of runs"
_COUNTS = ["RowKey", "outcomes"]


@dataclass(frozen=True)
class Document:
    """A plan or a run as it is stored, and the ETag under which it may be replaced."""

    content: dict[str, Any]
    etag: str


@dataclass(frozen=True)
class Batch:
    """A row of jobs and what came of each. `name` is in the order in which batches were made."""

    run: str
    name: str
    items: tuple[Item, ...]
    outcomes: str
    etag: str = ""

    @property
    def unfinished(self) -> list[int]:
        """The places of the jobs that have not ended."""
        return [place for place, letter in enumerate(self.outcomes) if letter == UNFINISHED]

    def with_outcomes(self, outcomes: dict[int, Outcome]) -> Batch:
        """With what came of some jobs; what is known already stays."""
        letters = [
            OUTCOME_LETTERS[outcomes[place]] if letter == UNFINISHED and place in outcomes else letter
            for place, letter in enumerate(self.outcomes)
        ]
        return replace(self, outcomes="".join(letters))


class RunStore:
    """The table. `create` and `replace` never overwrite what somebody else has written meanwhile."""

    def __init__(self, account: Account, table: str) -> None:
        self._table: TableClient = account.table(table)
        self._recent: dict[tuple[Kind, str], tuple[float, Document | None]] = {}
        self._looking = asyncio.Lock()

    async def create(self, kind: Kind, key: str, content: dict[str, Any]) -> Document | None:
        """Store a new document; None when there is one under that key."""
        with map_errors(_DOING):
            try:
                written = await self._table.create_entity(_row(kind, key, content))
            except ResourceExistsError:
                return None
        return Document(content, str(written["etag"]))

    async def get(self, kind: Kind, key: str) -> Document | None:
        """A document, or None."""
        with map_errors(_DOING):
            try:
                row = await self._table.get_entity(kind, key)
            except ResourceNotFoundError as error:
                if error.error_code == "TableNotFound":  # type: ignore[attr-defined]
                    raise
                return None
        return _document(row)

    async def recent(self, kind: Kind, key: str, seconds: float) -> Document | None:
        """A document as it was at most so many seconds ago: all that ask share one look at it."""
        async with self._looking:
            looked, document = self._recent.get((kind, key), (-inf, None))
            if time.monotonic() - looked > seconds:
                document = await self.get(kind, key)
                self._recent = {
                    each: seen for each, seen in self._recent.items() if time.monotonic() - seen[0] <= seconds
                }
                self._recent[kind, key] = (time.monotonic(), document)
            return document

    async def replace(self, kind: Kind, key: str, before: Document, content: dict[str, Any]) -> Document | None:
        """Replace a document; None when it is not as it was any more."""
        condition = _unchanged(before.etag)
        with map_errors(_DOING):
            try:
                written = await self._table.update_entity(_row(kind, key, content), **condition)
            except (ResourceModifiedError, ResourceNotFoundError):
                return None
        return Document(content, str(written["etag"]))

    async def page(self, kind: Kind, limit: int, after: str = "") -> list[tuple[str, Document]]:
        """Documents with their keys, in the order of the keys, from behind `after` on."""
        query = "PartitionKey eq @kind and RowKey gt @after"
        found = []
        with map_errors(_DOING):
            rows = self._table.query_entities(query, parameters={"kind": kind, "after": after}, results_per_page=limit)
            async for row in rows:
                found.append((row["RowKey"], _document(row)))
                if len(found) >= limit:
                    break
        return found

    async def delete(self, kind: Kind, key: str) -> None:
        """Delete a document, as far as it is there."""
        with map_errors(_DOING):
            await self._table.delete_entity(kind, key)

    async def delete_batches(self, run: str) -> None:
        """Delete the batches of a run."""
        with map_errors(_DOING):
            await delete_rows(self._table, "PartitionKey eq @first", {"first": _partition(run)})

    async def create_batches(self, batches: Sequence[Batch]) -> list[Batch]:
        """Store new batches of a run, many at a time and in order: those that were stored.

        None of those at a time is stored where one of them is there already, and nothing behind them.
        """
        stored: list[Batch] = []
        for chunk in _transactions(batches):
            with map_errors(_DOING):
                try:
                    written = await self._table.submit_transaction([("create", _batch_row(each)) for each in chunk])
                except TableTransactionError as error:
                    if getattr(error, "error_code", None) == "EntityAlreadyExists":
                        return stored
                    raise
            stored += [replace(each, etag=str(facts["etag"])) for each, facts in zip(chunk, written, strict=True)]
        return stored

    async def batch(self, run: str, name: str) -> Batch | None:
        """One batch, or None."""
        with map_errors(_DOING):
            try:
                return _batch(await self._table.get_entity(_partition(run), name))
            except ResourceNotFoundError:
                return None

    async def batches(self, run: str, first: str = "", last: str = "~") -> AsyncIterator[Batch]:
        """The batches of a run between two names."""
        query = "PartitionKey eq @run and RowKey ge @first and RowKey le @last"
        values = {"run": _partition(run), "first": first, "last": last}
        with map_errors(_DOING):
            async for row in self._table.query_entities(query, parameters=values):
                yield _batch(row)

    async def outcomes(self, run: str, after: str = "") -> AsyncIterator[tuple[str, str]]:
        """Name and outcomes of every batch of a run, from behind `after` on."""
        query = "PartitionKey eq @run and RowKey gt @after"
        values = {"run": _partition(run), "after": after}
        with map_errors(_DOING):
            async for row in self._table.query_entities(query, parameters=values, select=_COUNTS):
                yield row["RowKey"], row["outcomes"]

    async def settle(self, batch: Batch, outcomes: dict[int, Outcome]) -> Batch:
        """Write down what came of some jobs of a batch, beside what is known by now: the batch as it then is.

        One request, unless somebody else has written to it since it was read.
        """
        while True:
            written = await self._replace_batch(batch.with_outcomes(outcomes))
            if written:
                return written
            there = await self.batch(batch.run, batch.name)
            if there is None:
                return batch.with_outcomes(outcomes)
            batch = there

    async def _replace_batch(self, batch: Batch) -> Batch | None:
        condition = _unchanged(batch.etag)
        with map_errors(_DOING):
            try:
                written = await self._table.update_entity(_batch_row(batch), **condition)
            except (ResourceModifiedError, ResourceNotFoundError):
                return None
        return replace(batch, etag=str(written["etag"]))


def _transactions(batches: Sequence[Batch]) -> Iterator[list[Batch]]:
    """As many batches as one transaction takes: a hundred rows, 4 MiB (Microsoft, "Performing entity group
    transactions")."""
    chunk: list[Batch] = []
    size = 0
    for batch in batches:
        # As the SDK writes it: characters that are not ASCII take six bytes.
        more = len(json.dumps(_batch_row(batch))) + ROW_OVERHEAD_BYTES
        if chunk and (len(chunk) == MAX_TRANSACTION_ROWS or size + more > MAX_TRANSACTION_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(batch)
        size += more
    if chunk:
        yield chunk


def _unchanged(etag: str) -> dict[str, Any]:
    return {"mode": UpdateMode.REPLACE, "etag": etag, "match_condition": MatchConditions.IfNotModified}


def _partition(run: str) -> str:
    return f"run {run}"


def _row(kind: Kind, key: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"PartitionKey": kind, "RowKey": key, "content": json.dumps(content, ensure_ascii=False)}


def _document(row: Any) -> Document:  # noqa: ANN401 - an entity of the SDK
    return Document(json.loads(row["content"]), row.metadata["etag"])


def _batch_row(batch: Batch) -> dict[str, Any]:
    items = [item.model_dump(exclude_defaults=True) for item in batch.items]
    return {
        "PartitionKey": _partition(batch.run),
        "RowKey": batch.name,
        "items": json.dumps(items, ensure_ascii=False),
        "outcomes": batch.outcomes,
    }


def _batch(row: Any) -> Batch:  # noqa: ANN401
    items = tuple(Item.model_validate(each) for each in json.loads(row["items"]))
    run = row["PartitionKey"].removeprefix(_partition(""))
    return Batch(run, row["RowKey"], items, row["outcomes"], row.metadata["etag"])
