"""Overview page: alerts first, then figures, stages, slots and the latest jobs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import azure.functions as func
from markupsafe import Markup

from pipeline.console import charts
from pipeline.console.alerts import PipelineState, alerts
from pipeline.console.cache import SWRCache
from pipeline.console.failures import failure_groups
from pipeline.console.jobs import STAGE_COLORS, stage_times
from pipeline.console.pool import slot_bar
from pipeline.console.request import ConsoleRequest
from pipeline.monitoring.health import HealthMonitor
from pipeline.monitoring.pool_overview import PoolMonitor
from pipeline.runs.lifecycle import RunController
from pipeline.storage.ledger import Ledger
from pipeline.storage.metrics import MinuteMetrics
from pipeline.storage.queue import JobQueue

COLUMN_MINUTES = {1: 1, 6: 5, 24: 20}
"""The periods of the chart in hours, each with the width of its columns in minutes."""
RATE_MINUTES = 5
LATEST_JOBS = 8
HEALTH_INTERVAL_SECONDS = 30.0


@dataclass(frozen=True)
class Figures:
    """Figures of a period."""

    minutes: Sequence[MinuteMetrics]
    hours: int
    now: datetime

    def total(self, name: str) -> int:
        """Sum a metric over the period."""
        return sum(getattr(each, name) for each in self.minutes)

    @property
    def rate(self) -> float:
        """Images per minute in the last five full minutes."""
        end = self.now.replace(second=0, microsecond=0)
        recent = [each.done for each in self.minutes if end - timedelta(minutes=RATE_MINUTES) <= each.at < end]
        return sum(recent) / RATE_MINUTES

    @property
    def stages(self) -> list[tuple[str, str, float]]:
        """Mean milliseconds per image by stage: name, color class, milliseconds."""
        sums, timed = Counter[str](), self.total("timed")
        for each in self.minutes:
            sums.update(each.ms)
        times = stage_times(sums) if timed else {}
        return [(name, STAGE_COLORS[name], ms / timed) for name, ms in times.items()]

    @property
    def recipes(self) -> list[tuple[str, int, int]]:
        """Jobs done and failed by recipe, the recipe with the most jobs first."""
        done, failed = Counter[str](), Counter[str]()
        for each in self.minutes:
            done[each.recipe] += each.done
            failed[each.recipe] += each.failed
        names = sorted(done | failed, key=lambda name: -(done[name] + failed[name]))
        return [(name, done[name], failed[name]) for name in names]

    def chart(self) -> Markup:
        """Draw the images done and failed over time."""
        step = COLUMN_MINUTES[self.hours]
        count = self.hours * 60 // step
        start = self.now.replace(second=0, microsecond=0) - timedelta(minutes=count * step - 1)
        done, failed = [0.0] * count, [0.0] * count
        for each in self.minutes:
            index = int((each.at - start) / timedelta(minutes=step))
            if 0 <= index < count:
                done[index] += each.done
                failed[index] += each.failed
        moments = [start + timedelta(minutes=index * step) for index in range(count)]
        series = [charts.Series("done", "c1", done), charts.Series("failed", "c2", failed)]
        return charts.columns("Images", moments, series)


@dataclass(frozen=True)
class OverviewPage:
    """Show the overview."""

    input_container: str
    ledger: Ledger
    job_queue: JobQueue
    runs: RunController
    pool: PoolMonitor
    health: HealthMonitor
    cache: SWRCache

    async def show(self, request: ConsoleRequest) -> func.HttpResponse:
        """`GET` of the console's root: show the overview."""
        periods = {str(hours): hours for hours in COLUMN_MINUTES}
        hours = periods.get(request.query.get("hours", ""), 1)
        now = datetime.now(UTC)
        since = now - timedelta(hours=hours)
        # Concurrent: the page takes as long as the slowest request.
        (minutes, groups, (latest, _)), (pool, queued, oldest_queued, (runs, _)) = await asyncio.gather(
            asyncio.gather(
                self.cache.get(f"minutes {hours}", lambda: self.ledger.metrics.minutes(since)),
                failure_groups(self.ledger, self.cache),
                self.ledger.page(limit=LATEST_JOBS),
            ),
            asyncio.gather(
                self.pool.overview(),
                self.job_queue.length(),
                self.job_queue.oldest(),
                self.runs.list_runs(limit=1),
            ),
        )
        health = self.cache.peek("health", self.health.check, HEALTH_INTERVAL_SECONDS)
        figures = Figures(minutes, hours, now)
        state = PipelineState(
            done=figures.total("done"),
            failed=figures.total("failed"),
            queued=queued,
            oldest_queued=oldest_queued,
            pool=pool,
            failures=groups,
            run=next((each for each in runs if each.state == "working"), None),
            unhealthy=[each for each in health.dependencies if not each.healthy] if health else [],
            has_jobs=bool(latest),
            now=now,
        )
        return request.render(
            "overview.html",
            figures=figures,
            state=state,
            split=slot_bar(pool),
            latest=latest,
            alerts=alerts(state),
            periods=list(COLUMN_MINUTES),
            hours=hours,
            input_container=self.input_container,
        )
