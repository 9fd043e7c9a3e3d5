"""Claim: the exclusive right to process a job, and the options of asking for it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.engine.revisions import decoder_revision
from pipeline.errors import JobSuperseded, PipelineError
from pipeline.storage.entry import Entry, outputs_of
from pipeline.storage.error_columns import NO_ERROR, columns_of
from pipeline.storage.former_renditions import replaced_by
from pipeline.storage.metrics import MetricsStore
from pipeline.storage.row_writer import RowWriter
from pipeline.storage.source_facts import SourceFacts

Adopt = Callable[[Entry], Awaitable[Entry | None]]


@dataclass(frozen=True)
class ClaimOptions:
    """Options of a claim.

    Attributes:
        again: Execute a job that has ended.
        seen: The generation that the sender of the job had seen.
        run: The id of the bulk run.
        known: The row as a run has read it. If it is unchanged, it is claimed without reading it again.
        expected: The job probably has a row: read it first. Otherwise the claim first tries to create it.
        listed: List the job as running at once, not with its first heartbeat.
        force: Claim the job even if only a newer deployment may, to record that it has not.
        adopt: Returns the row of a job that has ended, with this version, if the source's content is unchanged.
    """

    again: bool = False
    seen: int | None = None
    run: str = ""
    known: Entry | None = None
    expected: bool = False
    listed: bool = False
    force: bool = False
    adopt: Adopt | None = None


NO_OPTIONS = ClaimOptions()


class Claim:
    """Exclusive right of this worker to process a job, until the job ends or the claim expires without a heartbeat."""

    def __init__(self, writer: RowWriter, metrics: MetricsStore, entry: Entry, ttl: timedelta) -> None:
        self._writer, self._metrics, self._ttl = writer, metrics, ttl
        self._writing = asyncio.Lock()
        self.entry = entry

    @property
    def heartbeat_interval(self) -> float:
        """Seconds between heartbeats: a third of the claim's TTL."""
        return self._ttl.total_seconds() / 3

    async def renew(self) -> None:
        """Renew the claim (heartbeat). Raises JobSuperseded if the claim is lost."""
        await self._write(expires=datetime.now(UTC) + self._ttl)

    async def ensure_fresh(self) -> None:
        """Renew the claim if a heartbeat was missed: storage did not respond, or this process was suspended.

        A claim with timely heartbeats always has more than half of its TTL left. Raises JobSuperseded if another worker
        has taken the job over.
        """
        if self.entry.expires - datetime.now(UTC) < self._ttl / 2:
            await self.renew()

    async def complete(
        self, renditions: list[dict[str, Any]], report: dict[str, Any], source: SourceFacts | None = None
    ) -> Entry:
        """Record the renditions, the report and the facts of the source. Raises JobSuperseded if the claim is lost."""
        source_format = report.get("source", {}).get("format", "")
        return await self._end(
            state="done",
            source_format=source_format,
            decoder_revision=decoder_revision(source_format),
            attempts=self.entry.attempts + 1,
            renditions=renditions,
            former=replaced_by(renditions, self.entry.former),
            outputs=outputs_of(renditions),
            report=report,
            source=source or SourceFacts(),
            bytes_in=report.get("source", {}).get("size", 0),
            bytes_out=sum(one.get("size", 0) for one in renditions),
            ms=report.get("ms", {}),
            versions=report.get("versions", {}),
            service_seconds=0.0,
            service_runs=0,
            **NO_ERROR,
        )

    async def fail(
        self,
        error: PipelineError,
        stage: str,
        ms: dict[str, float] | None = None,
        source: SourceFacts | None = None,
    ) -> Entry:
        """Record a failure: error, stage, milliseconds per stage and the facts of the source.

        Raises JobSuperseded if the claim is lost.
        """
        return await self._end(
            state="failed",
            attempts=self.entry.attempts + 1,
            source_format=error.source_format,
            decoder_revision=decoder_revision(error.source_format),
            ms=ms or {},
            source=source or SourceFacts(),
            **columns_of(error, stage),
        )

    async def requeue(
        self, error: PipelineError, stage: str, *, tried: bool, service_seconds: float | None = None
    ) -> Entry:
        """Record that the job is queued for another attempt. Raises JobSuperseded if the claim is lost.

        `service_seconds` is the time lost to faults of services since the first delivery; None leaves it.
        """
        lost = self.entry.service_seconds if service_seconds is None else service_seconds
        attempts = self.entry.attempts + int(tried)
        return await self._end(state="queued", attempts=attempts, service_seconds=lost, **columns_of(error, stage))

    async def abandon(self, error: PipelineError) -> Entry:
        """Record that the source has changed or is gone. Raises JobSuperseded if the claim is lost."""
        return await self._end(state="superseded", **columns_of(error, ""))

    async def _end(self, **changes: Any) -> Entry:  # noqa: ANN401 - fields of Entry
        written = await self._write(since=datetime.now(UTC), **changes)
        self._metrics.record(written)
        return written

    async def _write(self, **changes: Any) -> Entry:  # noqa: ANN401 - fields of Entry
        async with self._writing:
            written = await self._writer.write(replace(self.entry, **changes))
            if written is None and await self._holds_claim():
                written = await self._writer.write(replace(self.entry, **changes))
            if written is None:
                raise JobSuperseded("another worker has taken this job over")
            self.entry = written
            return written

    async def _holds_claim(self) -> bool:
        """Return True if the row differs only by an own heartbeat whose response was lost; continue from that row."""
        own = (self.entry.owner, self.entry.generation, "running")
        stored = await self._writer.get(self.entry.key)
        if stored is None or (stored.owner, stored.generation, stored.state) != own:
            return False
        self.entry = stored
        return True
