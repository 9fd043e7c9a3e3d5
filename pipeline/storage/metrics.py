"""Figures by the minute: jobs that ended, bytes in and out, and time per stage, for each recipe.

Every process adds up in memory and writes its own row of the minute every few seconds, so that no two of them ever
write the same row and no job costs a request. A process that is killed takes the last few seconds' figures with it:
what happened to each job is in the ledger, which is exact; this tells how fast and how well it goes.

The rows of an hour are a partition (`~minutes~2026112418`, which no recipe's name can be), so that an overview of some
hours is as many range reads.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import Iterable
from contextvars import Context
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient

from pipeline.errors import PipelineError
from pipeline.storage.account import delete_rows, map_errors
from pipeline.storage.entry import Entry, int64, int64_value
from pipeline.telemetry import logger

log = logger(__name__)
WRITE_INTERVAL_SECONDS = 10.0
MAX_PERIOD = timedelta(hours=48)
PARTITION = "~minutes~"
_HOUR, _MINUTE = "%Y%m%d%H", "%Y%m%d%H%M"
_COUNTS = ("done", "failed", "superseded", "bytes_in", "bytes_out")


@dataclass
class MinuteMetrics:
    """What ended within one minute (UTC) of one recipe's jobs: `ms` are sums per stage, over the `timed` jobs.

    `processes` is how many have counted for it; 0 for one that is being counted.
    """

    at: datetime
    recipe: str
    done: int = 0
    failed: int = 0
    superseded: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    timed: int = 0
    processes: int = 0
    ms: Counter[str] = field(default_factory=Counter)

    def add(self, entry: Entry) -> None:
        """Count a job that has ended."""
        setattr(self, entry.state, getattr(self, entry.state) + 1)
        if entry.state == "done":
            self.bytes_in += entry.bytes_in
            self.bytes_out += entry.bytes_out
            self.timed += 1
            self.ms.update({stage: round(ms) for stage, ms in entry.ms.items()})

    def merge(self, row: Any) -> None:  # noqa: ANN401 - an entity of the SDK
        """Add what another process counted."""
        for name in (*_COUNTS, "timed"):
            setattr(self, name, getattr(self, name) + int64_value(row[name]))
        self.ms.update(json.loads(row["ms"]))
        self.processes += 1

    def to_row(self, process: str) -> dict[str, Any]:
        """Write a table entity."""
        return {
            "PartitionKey": f"{PARTITION}{self.at.strftime(_HOUR)}",
            "RowKey": f"{self.at.strftime('%M')}~{self.recipe}~{process}",
            **{name: int64(getattr(self, name)) for name in (*_COUNTS, "timed")},
            "ms": json.dumps(self.ms, ensure_ascii=False),
        }


class MetricsStore:
    """The figures of a table: counted here, written now and then, read by the hour."""

    def __init__(self, table: TableClient) -> None:
        self._table = table
        self._process = secrets.token_hex(4)
        self._minutes: dict[tuple[str, str], MinuteMetrics] = {}
        self._unwritten: set[tuple[str, str]] = set()
        self._writing = asyncio.Lock()
        self._writer: asyncio.Task[None] | None = None

    def record(self, entry: Entry) -> None:
        """Count a job's end; any other state is none."""
        if entry.state not in ("done", "failed", "superseded"):
            return
        at = entry.since.replace(second=0, microsecond=0)
        key = (at.strftime(_MINUTE), entry.key.partition)
        self._minutes.setdefault(key, MinuteMetrics(at, entry.key.partition)).add(entry)
        self._unwritten.add(key)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_later(), context=Context())

    async def flush(self) -> None:
        """Write what has been counted since the last time. What cannot be written now is written the next time."""
        async with self._writing:
            await self._write()

    async def _write(self) -> None:
        keys, self._unwritten = self._unwritten, set()
        hours: dict[str, list[dict[str, Any]]] = {}
        for row in (self._minutes[key].to_row(self._process) for key in keys):
            hours.setdefault(row["PartitionKey"], []).append(row)
        try:
            for rows in hours.values():
                for chunk in (rows[i : i + 100] for i in range(0, len(rows), 100)):
                    with map_errors("writing figures"):
                        upserts = [("upsert", row, {"mode": UpdateMode.REPLACE}) for row in chunk]
                        await self._table.submit_transaction(upserts)
        except PipelineError as error:
            log.warning("figures cannot be written now: %s", error)
            self._unwritten |= keys
        self._forget()

    async def close(self) -> None:
        """Write what is left."""
        writer, self._writer = self._writer, None
        if writer:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
        if self._unwritten:
            await self.flush()

    async def minutes(self, since: datetime) -> list[MinuteMetrics]:
        """The figures since then, at most 48 hours of them, by minute and recipe, the oldest first."""
        now = datetime.now(UTC)
        since = max(since, now - MAX_PERIOD).replace(second=0, microsecond=0)
        first = since.replace(minute=0)
        hours = [first + timedelta(hours=n) for n in range(int((now - first) / timedelta(hours=1)) + 1)]
        found = await asyncio.gather(*(self._hour(f"{PARTITION}{hour.strftime(_HOUR)}") for hour in hours))
        merged = _merged(row for rows in found for row in rows)
        return sorted((each for each in merged if each.at >= since), key=lambda each: (each.at, each.recipe))

    async def delete_before(self, before: datetime) -> None:
        """Delete the figures of the hours before that: nobody asks for them any more."""
        query = "PartitionKey ge @first and PartitionKey lt @last"
        values = {"first": PARTITION, "last": f"{PARTITION}{before.strftime(_HOUR)}"}
        with map_errors("deleting figures"):
            await delete_rows(self._table, query, values)

    async def _hour(self, partition: str) -> list[Any]:
        query = "PartitionKey eq @partition"
        with map_errors("reading figures"):
            return [row async for row in self._table.query_entities(query, parameters={"partition": partition})]

    async def _write_later(self) -> None:
        try:
            while self._unwritten:
                await asyncio.sleep(WRITE_INTERVAL_SECONDS)
                await self.flush()
        except asyncio.CancelledError:
            if self._writer is not None:  # the loop is being stopped, which is how a function host ends
                await self.flush()
            raise

    def _forget(self) -> None:
        """Let go of minutes that are over and written."""
        recent = (datetime.now(UTC) - timedelta(minutes=2)).strftime(_MINUTE)
        for key in [key for key in self._minutes if key[0] < recent and key not in self._unwritten]:
            del self._minutes[key]


def _merged(rows: Iterable[Any]) -> list[MinuteMetrics]:
    minutes: dict[tuple[datetime, str], MinuteMetrics] = {}
    for row in rows:
        minute, recipe, _ = row["RowKey"].split("~")
        hour = datetime.strptime(row["PartitionKey"].removeprefix(PARTITION), _HOUR).replace(tzinfo=UTC)
        at = hour + timedelta(minutes=int(minute))
        minutes.setdefault((at, recipe), MinuteMetrics(at, recipe)).merge(row)
    return list(minutes.values())
