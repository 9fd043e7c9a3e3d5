"""Statistics: throughput by minute and recipe, queue depths, and the number of slots by state."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from pipeline.monitoring.document import Document
from pipeline.monitoring.pool_overview import PoolMonitor, SlotCounts
from pipeline.storage import JobQueue, MetricsStore, MinuteMetrics


class MinuteStatistics(Document):
    """Jobs of one recipe that ended within one minute. The recipe `_adhoc` stands for all recipes of requests."""

    at: datetime
    """Start of the minute."""
    recipe: str
    done: int
    failed: int
    superseded: int
    bytes_in: int
    bytes_out: int
    ms: dict[str, float]
    """Mean milliseconds per stage, over the jobs that are done."""

    @classmethod
    def of(cls, minute: MinuteMetrics) -> Self:
        """Convert the metrics of a minute; sums of milliseconds become means."""
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


class QueueStatistics(Document):
    """Depth and age of a queue."""

    depth: int
    """Approximate number of messages, including delayed ones."""
    oldest: float | None
    """Seconds that the oldest visible message has waited; null if there is none."""


class Statistics(Document):
    """Statistics of a period, and the state of queues and slots at its end."""

    now: datetime
    minutes: list[MinuteStatistics]
    """Oldest first. Minutes without ended jobs are left out."""
    queue: QueueStatistics
    """Queue of jobs."""
    run_queue: QueueStatistics
    """Queue of runs."""
    pool: SlotCounts


@dataclass(frozen=True)
class StatisticsCollector:
    """Collect statistics from the metrics store, the queues and the slots."""

    metrics: MetricsStore
    job_queue: JobQueue
    run_queue: JobQueue
    pool: PoolMonitor

    async def collect(self, minutes: int) -> Statistics:
        """Return the statistics of the last `minutes` minutes."""
        now = datetime.now(UTC)
        metrics, queue, run_queue, overview = await asyncio.gather(
            self.metrics.minutes(now - timedelta(minutes=minutes)),
            _queue_statistics(self.job_queue, now),
            _queue_statistics(self.run_queue, now),
            self.pool.overview(),
        )
        rows = [MinuteStatistics.of(minute) for minute in metrics]
        return Statistics(now=now, minutes=rows, queue=queue, run_queue=run_queue, pool=overview)


async def _queue_statistics(queue: JobQueue, now: datetime) -> QueueStatistics:
    depth, oldest = await asyncio.gather(queue.length(), queue.oldest())
    age = None if oldest is None else max(0.0, (now - oldest).total_seconds())
    return QueueStatistics(depth=depth, oldest=age)
