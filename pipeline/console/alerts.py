"""Alerts of the overview: problems of the pipeline, the most severe first, each with its remedy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pipeline.console.auth import CONSOLE_PATH
from pipeline.console.formatting import duration, percent, plural
from pipeline.console.remediation import remediation
from pipeline.monitoring.health import DependencyHealth
from pipeline.monitoring.pool_overview import PoolOverview
from pipeline.runs import Run
from pipeline.storage.ledger_queries import FailureGroup

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
