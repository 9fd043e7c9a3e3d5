"""Metrics per minute and recipe: ended jobs, bytes in and out, and time per stage.

Each process aggregates in memory and writes its own row of a minute every 10 s: no two processes write the same row,
and a job costs no request. A killed process loses the metrics of its last seconds. Metrics show speed and health; the
exact record of every job is the ledger.

The rows of an hour form a partition (`~minutes~2026112418`, which no recipe can be named), so that an overview of some
hours takes as many range reads.
"""

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
from pipeline.storage.entry import Entry
from pipeline.storage.row_columns import int64, int64_value
from pipeline.telemetry import logger

log = logger(__name__)
WRITE_INTERVAL_SECONDS = 10.0
MAX_PERIOD = timedelta(hours=48)
PARTITION = "~minutes~"
_HOUR, _MINUTE = "%Y%m%d%H", "%Y%m%d%H%M"
_COUNTS = ("done", "failed", "superseded", "bytes_in", "bytes_out")


@dataclass
class MinuteMetrics:
    """Metrics of one minute (UTC) and one recipe. `ms` sums the milliseconds per stage over `timed` jobs.

    `processes` is the number of processes whose rows were merged; 0 while this process still counts.
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
        """Add the row of a process."""
        for name in (*_COUNTS, "timed"):
            setattr(self, name, getattr(self, name) + int64_value(row[name]))
        self.ms.update(json.loads(row["ms"]))
        self.processes += 1

    def to_row(self, process: str) -> dict[str, Any]:
        """Return the table entity."""
        return {
            "PartitionKey": f"{PARTITION}{self.at.strftime(_HOUR)}",
            "RowKey": f"{self.at.strftime('%M')}~{self.recipe}~{process}",
            **{name: int64(getattr(self, name)) for name in (*_COUNTS, "timed")},
            "ms": json.dumps(self.ms, ensure_ascii=False),
        }


class MetricsStore:
    """Metrics in a table: aggregated in memory, flushed every 10 s, read by the hour."""

    def __init__(self, table: TableClient) -> None:
        self._table = table
        self._process = secrets.token_hex(4)
        self._minutes: dict[tuple[str, str], MinuteMetrics] = {}
        self._unwritten: set[tuple[str, str]] = set()
        self._write_lock = asyncio.Lock()
        self._writer: asyncio.Task[None] | None = None

    def record(self, entry: Entry) -> None:
        """Count a job that is done, failed or superseded; ignore other states."""
        if entry.state not in ("done", "failed", "superseded"):
            return
        at = entry.since.replace(second=0, microsecond=0)
        key = (at.strftime(_MINUTE), entry.key.group)
        self._minutes.setdefault(key, MinuteMetrics(at, entry.key.group)).add(entry)
        self._unwritten.add(key)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_later(), context=Context())

    async def flush(self) -> None:
        """Write the metrics counted since the last flush. After an error the next flush repeats them."""
        async with self._write_lock:
            await self._write()

    async def _write(self) -> None:
        keys, self._unwritten = self._unwritten, set()
        hours: dict[str, list[dict[str, Any]]] = {}
        for row in (self._minutes[key].to_row(self._process) for key in keys):
            hours.setdefault(row["PartitionKey"], []).append(row)
        try:
            for rows in hours.values():
                for chunk in (rows[i : i + 100] for i in range(0, len(rows), 100)):
                    with map_errors("writing metrics"):
                        upserts = [("upsert", row, {"mode": UpdateMode.REPLACE}) for row in chunk]
                        await self._table.submit_transaction(upserts)
        except PipelineError as error:
            log.warning("metrics cannot be written now: %s", error, extra={"event": "metrics.write_failed"})
            self._unwritten |= keys
        self._forget()

    async def close(self) -> None:
        """Write the remaining metrics."""
        writer, self._writer = self._writer, None
        if writer:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
        if self._unwritten:
            await self.flush()

    async def minutes(self, since: datetime) -> list[MinuteMetrics]:
        """Return the metrics since a moment, at most 48 hours, by minute and recipe, oldest first."""
        now = datetime.now(UTC)
        since = max(since, now - MAX_PERIOD).replace(second=0, microsecond=0)
        first = since.replace(minute=0)
        hours = [first + timedelta(hours=n) for n in range(int((now - first) / timedelta(hours=1)) + 1)]
        partitions = await asyncio.gather(*(self._hour(f"{PARTITION}{hour.strftime(_HOUR)}") for hour in hours))
        merged = _merged(row for rows in partitions for row in rows)
        return sorted((each for each in merged if each.at >= since), key=lambda each: (each.at, each.recipe))

    async def delete_before(self, before: datetime, most: int) -> int:
        """Delete at most `most` rows of the hours before a moment (retention). Returns their number."""
        query = "PartitionKey ge @first and PartitionKey lt @last"
        values = {"first": PARTITION, "last": f"{PARTITION}{before.strftime(_HOUR)}"}
        with map_errors("deleting metrics"):
            return await delete_rows(self._table, query, values, most)

    async def _hour(self, partition: str) -> list[Any]:
        query = "PartitionKey eq @partition"
        with map_errors("reading metrics"):
            return [row async for row in self._table.query_entities(query, parameters={"partition": partition})]

    async def _write_later(self) -> None:
        try:
            while self._unwritten:
                await asyncio.sleep(WRITE_INTERVAL_SECONDS)
                await self.flush()
        except asyncio.CancelledError:
            if self._writer is not None:  # a function host ends by stopping the event loop
                await self.flush()
            raise

    def _forget(self) -> None:
        """Drop minutes that are over and written."""
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
