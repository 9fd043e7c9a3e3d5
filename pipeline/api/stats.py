"""How fast and how well it goes: figures by the minute, the queue, the slots."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated, Self

from pydantic import BaseModel, Field

from pipeline.api import pool
from pipeline.api.http import Request, Response
from pipeline.api.jobs import QUERY
from pipeline.api.links import Links
from pipeline.api.schemas import DOCUMENT
from pipeline.services import Services
from pipeline.storage.metrics import MinuteMetrics
from pipeline.storage.queue import JobQueue


class StatsQuery(BaseModel):
    """How far back."""

    model_config = QUERY

    minutes: Annotated[int, Field(ge=1, le=48 * 60)] = 60


class MinuteDocument(BaseModel):
    """What ended within one minute of one recipe's jobs; `_adhoc` stands for all that came with requests."""

    model_config = DOCUMENT

    at: datetime
    recipe: str
    done: int
    failed: int
    superseded: int
    bytes_in: int
    bytes_out: int
    ms: dict[str, float]
    """Mean milliseconds per stage, of the jobs that were done."""

    @classmethod
    def of(cls, minute: MinuteMetrics) -> Self:
        """A minute's figures as a document."""
        return cls(
            at=minute.at,
            recipe=minute.recipe,
            done=minute.done,
            failed=minute.failed,
            superseded=minute.superseded,
            bytes_in=minute.bytes_in,
            bytes_out=minute.bytes_out,
            ms={stage: round(total / minute.timed, 1) for stage, total in minute.ms.items()} if minute.timed else {},
        )


class QueueDocument(BaseModel):
    """What waits."""

    model_config = DOCUMENT

    depth: int
    """Messages, about, also those that wait for a later time."""
    oldest: float | None
    """Seconds that the oldest message has waited whose turn it is; null when there is none."""


class SlotsDocument(BaseModel):
    """The session pool in numbers."""

    model_config = DOCUMENT

    capacity: int
    free: int
    leased: int
    dirty: int
    cooling: int
    saturation: float


class StatsDocument(BaseModel):
    """How it goes."""

    model_config = DOCUMENT

    now: datetime
    minutes: list[MinuteDocument]
    queue: QueueDocument
    run_queue: QueueDocument
    pool: SlotsDocument


async def stats(services: Services, minutes: int) -> StatsDocument:
    """The figures of the last minutes, the oldest first, and what waits now."""
    now = datetime.now(UTC)
    found, queue, run_queue, slots = await asyncio.gather(
        services.ledger.metrics.minutes(now - timedelta(minutes=minutes)),
        _queue(services.job_queue, now),
        _queue(services.run_queue, now),
        pool.overview(services, Links()),
    )
    return StatsDocument(
        now=now,
        minutes=[MinuteDocument.of(each) for each in found],
        queue=queue,
        run_queue=run_queue,
        pool=SlotsDocument(**{name: getattr(slots, name) for name in SlotsDocument.model_fields}),
    )


async def _queue(queue: JobQueue, now: datetime) -> QueueDocument:
    depth, oldest = await asyncio.gather(queue.length(), queue.oldest())
    return QueueDocument(depth=depth, oldest=None if oldest is None else max(0.0, (now - oldest).total_seconds()))


async def show(services: Services, call: Request) -> Response:
    """`GET /api/stats`: how it goes."""
    return Response(await stats(services, call.query(StatsQuery).minutes))
