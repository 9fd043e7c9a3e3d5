"""What needs attention, the worst first, each with what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pipeline.console import formatting
from pipeline.console.auth import PATH
from pipeline.console.remediation import remediation
from pipeline.monitoring.health import DependencyHealth
from pipeline.monitoring.pool_overview import PoolOverview
from pipeline.runs import Run
from pipeline.storage.ledger_queries import FailureGroup

LONG_WAIT = 300.0
MANY = 0.1
FRESH = 24 * 3600.0
SHOWN = 3


@dataclass(frozen=True)
class State:
    """What is known of the pipeline at one moment; `done` and `failed` within the span that is shown."""

    done: int
    failed: int
    waiting: int
    oldest: datetime | None
    pool: PoolOverview
    failures: Sequence[FailureGroup]
    run: Run | None
    unwell: Sequence[DependencyHealth]
    any_job: bool
    now: datetime

    @property
    def oldest_age(self) -> float:
        """Seconds that the oldest message waits; 0 when none does."""
        return (self.now - self.oldest).total_seconds() if self.oldest else 0.0


@dataclass(frozen=True)
class Alert:
    """One thing: how bad, what it is, what to do, and where."""

    level: Literal["bad", "warn", "good", "info"]
    title: str
    do: str
    where: str = ""
    label: str = ""


def alerts(state: State) -> list[Alert]:
    """Everything that needs attention; one good word when nothing does."""
    found = sorted(_all(state), key=lambda need: need.level != "bad")
    if not found and state.any_job:
        found = [Alert("good", "All is well", "Nothing has failed within a day, and nothing waits for long.")]
    if state.run:
        found.append(_run(state.run))
    return found


def _all(state: State) -> Iterator[Alert]:
    for each in state.unwell:
        yield Alert("bad", f"Not well: {each.name}", each.reason or "It does not answer.")
    ended = state.done + state.failed
    if ended >= 10 and state.failed / ended > MANY:
        yield Alert(
            "bad",
            f"{formatting.percent(state.failed, ended)} of the jobs fail",
            "That is more than single bad pictures. Look at the most frequent reason first.",
            f"{PATH}/failures",
            "Failures",
        )
    if state.waiting and state.oldest_age > LONG_WAIT:
        yield _waiting(state)
    for group in list(state.failures)[:SHOWN]:
        if (state.now - group.newest).total_seconds() < FRESH:
            told = remediation(group.kind)
            title = f"{group.count:,} × {told.means}"
            yield Alert("warn", title, told.do, f"{PATH}/failures?kind={group.kind}", "Look")
    if state.pool.cooling:
        yield Alert(
            "warn",
            f"{state.pool.cooling} of {state.pool.capacity} slots cool down",
            "The pool could not end their sessions: it refuses, or did not answer. They come back by themselves.",
            f"{PATH}/pool",
            "Pool",
        )


def _run(run: Run) -> Alert:
    ended = run.progress.total - run.progress.left
    total = run.expected or run.found
    title = f"A run is at work: {formatting.percent(ended, total)} of {total:,} jobs"
    return Alert("info", title, "It gives way to fresh pictures.", f"{PATH}/runs/{run.id}", "Follow it")


def _waiting(state: State) -> Alert:
    since = formatting.duration(state.oldest_age)
    title = f"{state.waiting:,} jobs wait, the oldest for {since}"
    full = state.pool.leased + state.pool.cooling >= state.pool.capacity
    if full:
        do = "Every slot is taken. A larger pool (PIPELINE_POOL_MAX_SESSIONS) gets through them sooner."
    elif not state.pool.leased:
        do = "Nobody works on them: is the function app running, and does the queue trigger see this queue?"
    else:
        do = "There are free slots: the app takes more of them as it scales out, or waits between tries."
    return Alert("warn" if full or state.pool.leased else "bad", title, do, f"{PATH}/jobs?state=queued", "Waiting jobs")
