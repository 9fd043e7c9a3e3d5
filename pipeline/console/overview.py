"""Overview page: alerts first, then figures, stages, slots and the latest jobs."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import azure.functions as func
from markupsafe import Markup

from pipeline.console import charts
from pipeline.console.auth import CONSOLE_PATH
from pipeline.console.cache import SWRCache
from pipeline.console.formatting import duration, percent, plural
from pipeline.console.jobs import STAGE_COLORS, failure_groups, stage_times
from pipeline.console.pool import slot_bar
from pipeline.console.remediation import remediation
from pipeline.console.request import ConsoleRequest
from pipeline.jobs.admission import Admission
from pipeline.monitoring.admission import BreakerOverview
from pipeline.monitoring.health import DependencyHealth, HealthMonitor
from pipeline.monitoring.pool_overview import PoolMonitor, PoolOverview
from pipeline.runs import Run
from pipeline.runs.lifecycle import RunController
from pipeline.storage import FailureGroup, JobQueue, Ledger, MinuteMetrics

LONG_WAIT_SECONDS = 300.0
HIGH_FAILURE_SHARE = 0.1
MIN_JOBS_FOR_FAILURE_SHARE = 10
RECENT_FAILURE_SECONDS = 24 * 3600.0
MAX_FAILURE_ALERTS = 3


@dataclass(frozen=True)
class PipelineState:
    """State of the pipeline at one moment. `done` and `failed` count the jobs of the period that the page shows."""

    done: int
    failed: int
    queued: int
    oldest_queued: datetime | None
    pool: PoolOverview
    failures: Sequence[FailureGroup]
    run: Run | None
    unhealthy: Sequence[DependencyHealth]
    breakers: Sequence[BreakerOverview]
    has_jobs: bool
    now: datetime

    @property
    def wait_seconds(self) -> float:
        """Waiting time of the oldest queued job in seconds; 0 if the queue is empty."""
        return (self.now - self.oldest_queued).total_seconds() if self.oldest_queued else 0.0


@dataclass(frozen=True)
class Alert:
    """An alert: its severity, the problem, the remedy, and a link."""

    level: Literal["bad", "warn", "good", "info"]
    title: str
    remedy: str
    url: str = ""
    link_label: str = ""


def alerts(state: PipelineState) -> list[Alert]:
    """Return all alerts; a positive one if there is no problem."""
    result = sorted(_problems(state), key=lambda alert: alert.level != "bad")
    if not result and state.has_jobs:
        result = [Alert("good", "No problems", "No job failed within 24 h, and no job waits for long.")]
    if state.run:
        result.append(_run_alert(state.run))
    return result


def _problems(state: PipelineState) -> Iterator[Alert]:
    for each in state.unhealthy:
        yield Alert("bad", f"Unhealthy: {each.name}", each.reason or "It does not respond.")
    for breaker in state.breakers:
        if breaker.state != "closed":
            yield _breaker_alert(breaker)
    ended = state.done + state.failed
    if ended >= MIN_JOBS_FOR_FAILURE_SHARE and state.failed / ended > HIGH_FAILURE_SHARE:
        yield Alert(
            "bad",
            f"{percent(state.failed, ended)} of the jobs failed",
            "This is unusually high. Check the most frequent reason first.",
            f"{CONSOLE_PATH}/failures",
            "View failures",
        )
    if state.queued and state.wait_seconds > LONG_WAIT_SECONDS:
        yield _queue_alert(state)
    for group in list(state.failures)[:MAX_FAILURE_ALERTS]:
        if (state.now - group.newest).total_seconds() < RECENT_FAILURE_SECONDS:
            help_text = remediation(group.kind)
            url = f"{CONSOLE_PATH}/failures?kind={group.kind}"
            yield Alert("warn", help_text.title(group.count), help_text.action, url, "View")
    if state.pool.cooling:
        yield Alert(
            "warn",
            f"{state.pool.cooling} of {plural(state.pool.capacity, 'slot')} cooling down",
            "The pool rejected the request to end their sessions, or did not respond. The slots become free when these "
            "sessions expire.",
            f"{CONSOLE_PATH}/pool",
            "View pool",
        )


def _breaker_alert(breaker: BreakerOverview) -> Alert:
    title = f"No jobs start: circuit breaker of the {breaker.dependency}"
    remedy = f"Jobs wait, and nothing is lost. One job at a time probes the service. {breaker.reason}"
    return Alert("bad", title, remedy, f"{CONSOLE_PATH}/pool", "View")


def _run_alert(run: Run) -> Alert:
    ended = run.progress.total - run.progress.left
    total = run.expected or run.found
    title = f"A run is in progress: {percent(ended, total)} of {plural(total, 'job')}"
    return Alert("info", title, "Uploads and requests have priority over it.", f"{CONSOLE_PATH}/runs/{run.id}", "View")


def _queue_alert(state: PipelineState) -> Alert:
    title = f"{plural(state.queued, 'job')} in the queue, the oldest for {duration(state.wait_seconds)}"
    is_full = state.pool.leased + state.pool.cooling >= state.pool.capacity
    if is_full:
        remedy = "All slots are leased. A larger pool (PIPELINE_POOL_MAX_SESSIONS) processes the queue sooner."
    elif not state.pool.leased:
        remedy = (
            "No instance processes them. Check that the function app runs and that its queue trigger reads this queue."
        )
    else:
        remedy = "Some slots are free. The app leases more as it scales out, or the jobs wait for their next attempt."
    level: Literal["bad", "warn"] = "warn" if is_full or state.pool.leased else "bad"
    return Alert(level, title, remedy, f"{CONSOLE_PATH}/jobs?state=queued", "View queue")


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
    admission: Admission
    cache: SWRCache

    async def show(self, request: ConsoleRequest) -> func.HttpResponse:
        """`GET` of the console's root: show the overview."""
        hours = next((each for each in COLUMN_MINUTES if str(each) == request.query.get("hours")), 1)
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
            breakers=[BreakerOverview.of(each) for each in self.admission.breakers.values()],
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
