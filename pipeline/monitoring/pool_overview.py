"""Pool overview: slots, running jobs, billed session-hours, statistics of the pipeline; and recycling a slot.

Statistics are the throughput by minute and recipe, queue depths, and the number of slots by state. No document holds a
session identifier: an identifier gives access to its session.
"""

import asyncio
import re
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Self

from pydantic import Field

from pipeline.errors import JobSuperseded
from pipeline.monitoring.document import Document
from pipeline.pool.billing import BilledHours, SessionLifetime
from pipeline.pool.client import PoolClient
from pipeline.pool.drain import end_idle_session
from pipeline.pool.scheduler import SlotScheduler
from pipeline.settings import Settings
from pipeline.storage import DocumentSummary, JobQueue, LeasedDocuments, MetricsStore, MinuteMetrics, SlotStatusTable

SlotState = Literal["free", "leased", "dirty", "cooling"]
RecycleOutcome = Literal["ended", "no_session", "draining", "requested", "lease_broken"]
RECYCLE_TIMEOUT_SECONDS = 60.0
"""A holder that has not acted on a recycle request after this time loses the slot. It checks every 10 s."""


class SlotJob(Document):
    """A running job in a session."""

    recipe: str
    container: str
    source: str
    since: datetime


class SlotOverview(Document):
    """One slot, as its holder published it at most 10 s ago, or as its last holder stored it."""

    number: int = Field(ge=0)
    state: SlotState
    """`free`: no process holds the slot. `leased`: a process holds it. `dirty`: its last holder died, and the next
    holder ends the session first. `cooling`: the pool could not end the session, and the slot waits until it expires.
    """
    generation: int = Field(ge=0)
    """Number of sessions that the slot has had."""
    uses: int = Field(ge=0)
    """Number of jobs that the session has served."""
    age: float | None
    """Seconds since the session started; null without a session."""
    jobs: tuple[SlotJob, ...] = ()
    """The first running jobs of the session."""
    count: int | None = None
    """Number of running jobs; null until the holder has published it."""
    draining: bool = False
    """True if the session ends as soon as its running jobs have ended."""
    recycle_requested: datetime | None = None
    """Time of the pending request to recycle this session; null without one."""


class SessionHours(Document):
    """Billed session-hours: the started hours of all sessions, running and ended. A lower bound."""

    today: int
    """Since midnight UTC."""
    month: int
    """Since the first day of this month, UTC."""
    total: int
    """Since the day `since`."""
    since: str
    """Day of the first counted hour."""
    price: float | None
    """Price of one hour by the settings; null for a custom container pool, which is not billed by session."""


class SlotCounts(Document):
    """Number of slots by state."""

    capacity: int = Field(ge=1)
    free: int
    leased: int
    dirty: int
    cooling: int
    saturation: float = Field(ge=0, le=1)
    """Share of the capacity that is leased or cooling."""


class PoolOverview(SlotCounts):
    """All slots, their number by state, and the billed session-hours."""

    hours: SessionHours
    slots: tuple[SlotOverview, ...]


class RecycleResult(Document):
    """Result of a request to recycle a slot."""

    number: int
    outcome: RecycleOutcome
    """`ended`: the session has ended. `no_session`: there was none. `draining`: its holder ends it after its running
    jobs. `requested`: its holder, another process, has been asked to end it. `lease_broken`: the holder has not reacted
    within 60 s and loses the slot.
    """


@dataclass(frozen=True)
class _Snapshot:
    """Summaries of the slot documents, status rows of their holders, and pending recycle requests, by slot name."""

    summaries: dict[str, DocumentSummary]
    status_rows: dict[str, dict[str, Any]]
    recycle_requests: dict[str, tuple[int, float]]
    cooldown: float
    now: float

    def slot(self, number: int, name: str) -> SlotOverview:
        """Describe a slot. A slot that was never used has no document and no status row."""
        summary = self.summaries.get(name)
        stored = summary.fields if summary else {}
        state, generation = _state(summary, self.now), int(stored.get("generation", 0))
        published = self.status_row(name) or {}
        requested_generation, requested_at = self.recycle_requests.get(name, (0, 0.0))
        is_requested = state == "leased" and requested_generation == generation
        return SlotOverview(
            number=number,
            state=state,
            generation=int(published.get("generation", generation)),
            uses=int(published.get("uses", stored.get("used", 0))),
            age=self._age(SessionLifetime.read({**stored, **published}, self.cooldown), state),
            jobs=tuple(_job(*job) for job in published.get("jobs", [])),
            count=published.get("count"),
            draining=bool(published.get("draining")),
            recycle_requested=datetime.fromtimestamp(requested_at, UTC) if is_requested else None,
        )

    def status_row(self, name: str) -> dict[str, Any] | None:
        """Return the status row of a slot if its present holder has published it, else None."""
        row, summary = self.status_rows.get(name), self.summaries.get(name)
        if row is None or summary is None or not summary.held:
            return None
        is_own = row["holder"] == ""
        is_of_holder = row["holder"] == summary.fields.get("holder")
        is_current = is_of_holder and str(row["generation"]) == summary.fields.get("generation")
        return row if is_own or is_current else None

    def _age(self, lifetime: SessionLifetime, state: SlotState) -> float | None:
        """Return the age of a session in seconds; None without a session, or if its cooldown period is over."""
        expired = state == "free" and lifetime.ends < self.now
        return round(max(0.0, self.now - lifetime.started), 1) if lifetime.started and not expired else None

    def hours(self, price: float | None) -> SessionHours:
        """Sum the stored hours of all slots, and the hours that idle sessions without a holder have started since."""
        counts = []
        for summary in self.summaries.values():
            counted = BilledHours.parse(summary.fields.get("hours", ""))
            lifetime = SessionLifetime.read(summary.fields, self.cooldown)
            is_free = _state(summary, self.now) == "free"
            counts.append(lifetime.add_started_hours(counted, min(self.now, lifetime.ends)) if is_free else counted)
        hours = BilledHours.sum(counts, self.now)
        return SessionHours(
            today=hours.today, month=hours.month, total=hours.total, since=hours.since or hours.day, price=price
        )


def _job(recipe: str, container: str, name: str, since: float) -> SlotJob:
    return SlotJob(recipe=recipe, container=container, source=name, since=datetime.fromtimestamp(since, UTC))


def _state(summary: DocumentSummary | None, now: float) -> SlotState:
    if summary is None:
        return "free"
    if summary.held:
        return "leased"
    match summary.fields.get("state", "free"):
        case "cooling":
            return "cooling" if float(summary.fields.get("until", 0)) > now else "free"
        case "free":
            return "free"
        case _:
            return "dirty"


@dataclass(frozen=True)
class PoolMonitor:
    """Read the state of all slots, and recycle the session of a slot."""

    settings: Settings
    documents: LeasedDocuments
    status_table: SlotStatusTable
    scheduler: SlotScheduler
    client: PoolClient

    async def overview(self) -> PoolOverview:
        """Describe the pool now. Takes one listing and one range read, for any number of slots."""
        capacity, snapshot = self.settings.pool_max_sessions, await self._snapshot()
        slots = tuple(snapshot.slot(number, self.documents.name(number)) for number in range(capacity))
        states = Counter(slot.state for slot in slots)
        price = None if self.settings.pool_is_custom_container else self.settings.price_session_hour
        return PoolOverview(
            capacity=capacity,
            free=states["free"],
            leased=states["leased"],
            dirty=states["dirty"],
            cooling=states["cooling"],
            saturation=round((states["leased"] + states["cooling"]) / capacity, 4),
            hours=snapshot.hours(price),
            slots=slots,
        )

    async def recycle(self, number: str) -> RecycleResult:
        """End the session of a slot, after its running jobs if there are any.

        Raises JobSuperseded of kind `unknown_slot` if the pool has no slot with this number.
        """
        capacity = self.settings.pool_max_sessions
        if not re.fullmatch(r"[0-9]{1,3}", number) or int(number) >= capacity:
            raise JobSuperseded(f"slots have the numbers 0 to {capacity - 1}", kind="unknown_slot")
        return RecycleResult(number=int(number), outcome=await self._recycle(self.documents.name(int(number))))

    async def _recycle(self, name: str) -> RecycleOutcome:
        if self.scheduler.recycle(name):
            return "draining"
        match await end_idle_session(name, self.settings, self.documents, self.client):
            case "held":
                return await self._request_recycling(name)
            case "emptied":
                return "ended"
            case _:
                return "no_session"

    async def _request_recycling(self, name: str) -> RecycleOutcome:
        """Request the end of a session from the process that holds the slot; break its lease after the timeout.

        The next holder of the slot then ends the session. Its jobs are executed again in other sessions.
        """
        snapshot = await self._snapshot()
        if name not in snapshot.summaries:
            return "no_session"
        if (snapshot.status_row(name) or {}).get("draining"):
            return "draining"
        generation = int(snapshot.summaries[name].fields.get("generation", 0))
        requested_at = await self.status_table.request_recycling(name, generation)
        if time.time() - requested_at < RECYCLE_TIMEOUT_SECONDS:
            return "requested"
        await self.documents.break_lease(name)
        return "lease_broken"

    async def _snapshot(self) -> _Snapshot:
        """Read all slots. The rows of this process's own slots come from its scheduler and are newer."""
        summaries, (rows, requests) = await asyncio.gather(self.documents.summaries(), self.status_table.read_all())
        return _Snapshot(
            {summary.name: summary for summary in summaries},
            {**rows, **self.scheduler.status_rows()},
            requests,
            self.settings.pool_cooldown,
            time.time(),
        )


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
