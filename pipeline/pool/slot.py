"""Slot of the pool: its leased document, its state machine, and the session that it names."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any, Protocol, Self

from pipeline.pool import engine_bundle
from pipeline.pool.batching import BatchLimits
from pipeline.pool.billing import BilledHours, SessionLifetime
from pipeline.pool.client import PoolClient
from pipeline.pool.hours import HourAccount, ReservedHours
from pipeline.pool.requests import SlotRequest
from pipeline.pool.session import Session
from pipeline.settings import Settings

# Isolation label of jobs that may share a session with any other job of this label.
SHARED = "shared"
# Isolation label of jobs whose images all belong to the operator. Their sessions are recycled by age, and after this
# many jobs at the latest.
TRUSTED, TRUSTED_SESSION_MAX_JOBS = "trusted", 10_000

# A session ends this long before its reserved hour, beside the timeout of a job, and busy ones reserve another before.
END_MARGIN_SECONDS, RENEWAL_SECONDS = 60.0, 30.0

# Treat a lease as expired this many seconds early, because a call that starts now may take a while to arrive.
LEASE_MARGIN_SECONDS = 5.0


class SlotState(StrEnum):
    """State of a slot in the process that leases it."""

    OPENING = "opening"
    """Leased. The document does not name the session as `in use` yet; no job may start."""
    READY = "ready"
    """Accepts jobs."""
    DRAINING = "draining"
    """Closed to new jobs. Its session is recycled when the last job ends."""
    HANDING_OVER = "handing over"
    """Closed to new jobs. The slot is returned when the last job ends, because another process needs it."""
    RECYCLING = "recycling"
    """The session is being ended; the slot gets a new identifier."""
    RETURNING = "returning"
    """The session is being cleaned; the slot is about to be released."""
    FREE = "free"
    """Released with a clean session, which the next process may use."""
    COOLING = "cooling"
    """Released while its session, which could not be ended, expires by inactivity."""
    LOST = "lost"
    """Released as it was, or its lease is lost. The next process ends the session."""


ACTIVE = {SlotState.READY, SlotState.DRAINING, SlotState.HANDING_OVER}
FINAL = {SlotState.FREE, SlotState.COOLING, SlotState.LOST}
# A slot may be returned in every state, since a process may stop at any time. It may also be lost in every state.
TRANSITIONS: dict[SlotState, set[SlotState]] = {
    SlotState.OPENING: {SlotState.READY, SlotState.RECYCLING, SlotState.RETURNING, SlotState.LOST},
    SlotState.READY: {
        SlotState.DRAINING,
        SlotState.HANDING_OVER,
        SlotState.RECYCLING,
        SlotState.RETURNING,
        SlotState.LOST,
    },
    SlotState.DRAINING: {SlotState.HANDING_OVER, SlotState.RECYCLING, SlotState.RETURNING, SlotState.LOST},
    SlotState.HANDING_OVER: {SlotState.RETURNING, SlotState.LOST},
    SlotState.RECYCLING: {SlotState.OPENING, SlotState.RETURNING, SlotState.COOLING, SlotState.LOST},
    # A process that stops interrupts a return and starts it again.
    SlotState.RETURNING: {SlotState.RETURNING, SlotState.FREE, SlotState.LOST},
    SlotState.FREE: set(),
    SlotState.COOLING: set(),
    SlotState.LOST: set(),
}


class SlotDocument(Protocol):
    """Document of a slot while this process holds its lease."""

    content: dict[str, Any]

    async def write(self, content: dict[str, Any]) -> None:
        """Replace the content. Raises PipelineError of kind `lease_lost` when the lease is gone."""

    async def renew(self) -> None:
        """Renew the lease for its full duration."""

    async def release(self) -> None:
        """Release the lease."""


class SlotDocuments(Protocol):
    """Store of the slots' documents.

    Attributes:
        process: Name of this process among those that publish a demand.
    """

    process: str

    async def list_free(self, count: int) -> list[str]:
        """Return the names of the unleased documents among the first `count`."""

    async def acquire(self, name: str) -> SlotDocument | None:
        """Lease a document. Returns None when another process holds it."""

    async def publish_demand(self, demand: Mapping[str, int]) -> None:
        """Publish the demand of this process for slots."""

    async def withdraw_demand(self) -> None:
        """Withdraw the published demand."""

    async def demands(self) -> dict[str, dict[str, int]]:
        """Return the demand of every other process, by the name of the process."""


@dataclass(eq=False)
class Slot:
    """Slot that this process leases.

    Attributes:
        leased: Monotonic time in seconds of the last successful heartbeat.
        generation: Number of the identifier; every new identifier increments it.
        jobs_served: Jobs that ended in the present session.
        billed_hours: Hours of all sessions that the slot ever named.
        unwritten: Whether the document lacks some of these hours.
        requests: Requests of the jobs that run here.
        idle_since: Monotonic time in seconds at which the last job ended.
        recycle_reason: Reason for ending the session; empty while it is trusted.
        renewing: Whether a heartbeat is in flight.
        lifetime: Lifetime of the present session.
        reserved: Hours that are reserved for the present session.
    """

    name: str
    document: SlotDocument
    settings: Settings
    client: PoolClient
    leased: float
    identifier: str = ""
    generation: int = 0
    jobs_served: int = 0
    billed_hours: BilledHours = field(default_factory=BilledHours)
    unwritten: bool = False
    holder: str = ""
    state: SlotState = SlotState.OPENING
    label: str = ""
    requests: list[SlotRequest[Slot]] = field(default_factory=list)
    idle_since: float = 0.0
    recycle_reason: str = ""
    renewing: bool = False
    session: Session = field(init=False)
    lifetime: SessionLifetime = field(init=False)
    reserved: ReservedHours = field(default_factory=ReservedHours)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    def from_document(
        cls, name: str, document: SlotDocument, settings: Settings, client: PoolClient, leased: float
    ) -> Self:
        """Create the slot from its document. Its session must be recycled unless the last holder returned it."""
        content = document.content
        slot = cls(name, document, settings, client, leased)
        slot.generation, slot.jobs_served = int(content.get("generation", 0)), int(content.get("used", 0))
        # A session that was left to cool down has expired before its slot can be leased again.
        slot.identifier = "" if content.get("state") == SlotState.COOLING else str(content.get("identifier", ""))
        slot.label, slot.billed_hours = str(content.get("label", "")), BilledHours.parse(str(content.get("hours", "")))
        slot.lifetime = SessionLifetime.read(content if slot.identifier else {}, settings.pool_cooldown)
        slot.reserved = ReservedHours.read(content if slot.identifier else {}, slot.lifetime.counted)
        slot.session = slot.new_session(engine_installed=content.get("engine") == engine_bundle.build().digest)
        slot.record_billed_hours()
        if content.get("state") != SlotState.FREE:
            slot.recycle_reason = "taken over" if slot.identifier else "new"
        return slot

    def become(self, state: SlotState) -> None:
        """Change the state. Raises RuntimeError for a transition that `TRANSITIONS` does not allow, which is a bug."""
        if state not in TRANSITIONS[self.state]:
            raise RuntimeError(f"slot {self.name}: illegal transition from {self.state} to {state}")
        self.state = state

    def taint(self, reason: str) -> None:
        """Have the session recycled when its jobs have ended. The first reason is kept."""
        self.recycle_reason = self.recycle_reason or reason
        if reason and self.state is SlotState.READY:
            self.become(SlotState.DRAINING)

    @property
    def jobs(self) -> int:
        """Number of running jobs."""
        return len(self.requests)

    @property
    def is_cooling_down(self) -> bool:
        """Return whether a session that could not be ended may still exist."""
        content = self.document.content
        return content.get("state") == SlotState.COOLING and content.get("until", 0) > time.time()

    @property
    def lease_is_valid(self) -> bool:
        """Return whether this process certainly holds the lease."""
        expires = self.leased + self.settings.slot_lease_duration - LEASE_MARGIN_SECONDS
        return self.state not in FINAL and time.monotonic() < expires

    @property
    def in_doubt(self) -> str:
        """Reason why the session is not trusted any more; empty while it is."""
        return self.recycle_reason or self.session.tainted

    @property
    def needs_recycling(self) -> bool:
        """Return whether the session is unusable: in doubt, too old, used up, absent, or with an uncertain lease."""
        old = self.lifetime.started and self.age > min(self.settings.session_max_age, self._reserved_age)
        unusable = self.in_doubt or not self.identifier or not self.lease_is_valid
        max_jobs = TRUSTED_SESSION_MAX_JOBS if self.label == TRUSTED else self.settings.session_max_jobs
        return bool(unusable or old or self.jobs_served + self.jobs >= max_jobs)

    @property
    def accepts_jobs(self) -> bool:
        """Return whether jobs of the session's label may start here."""
        return self.state is SlotState.READY and not self.needs_recycling

    @property
    def is_unused(self) -> bool:
        """Return whether no job has used the session, so that jobs of every label may."""
        return self.jobs == 0 and self.jobs_served == 0

    @property
    def is_shared(self) -> bool:
        """Return whether jobs of any tenant may use the session."""
        return not self.is_unused and self.label in (SHARED, TRUSTED)

    @property
    def age(self) -> float:
        """Age of the session in seconds."""
        return time.time() - self.lifetime.started

    @property
    def _reserved_age(self) -> float:
        """Age up to which a job may start, so that it ends within the reserved hours."""
        return self.reserved.seconds - self.settings.job_timeout - END_MARGIN_SECONDS

    @property
    def renewal_is_due(self) -> bool:
        """Return whether to reserve another hour, so that the busy session may go on."""
        due = self.lifetime.started and self.jobs and self.age > self._reserved_age - RENEWAL_SECONDS
        return bool(due and self._reserved_age < self.settings.session_max_age) and not self.needs_recycling

    @property
    def idle(self) -> bool:
        """Return whether no job runs here and no maintenance is under way."""
        return self.jobs == 0 and self.state in ACTIVE

    @property
    def needs_writing(self) -> bool:
        """Return whether the document lacks billed hours and no write is in flight."""
        return self.unwritten and not self._writing.locked()

    def can_start(self, request: SlotRequest[Slot]) -> bool:
        """Return whether the requested job may start here now.

        An unused session accepts any isolation label; a job with label None needs an unused session. Beyond the
        session's concurrency, small jobs still start while they fit into that number of microbatches.
        """
        if not self.accepts_jobs or self.session.overdue:
            return False
        if self.is_unused:
            return True
        if request.label is None or self.label != request.label:
            return False
        concurrency = self.settings.session_concurrency
        return self.jobs < concurrency or BatchLimits.of(self.settings).scaled(concurrency).fits(self.requests, request)

    def start_job(self, request: SlotRequest[Slot]) -> None:
        """Add a job. A job with label None makes the session single-use."""
        request.started = time.time()
        self.lifetime.mark_used(request.started)
        self.requests.append(request)
        if self.lifetime.unconfirmed and not self.session.engine_installed:
            self._end_lifetime()
        self.label = request.label or "single"
        if request.label is None:
            self.taint("single")

    def end_job(self, request: SlotRequest[Slot]) -> None:
        """Remove a job."""
        self.requests.remove(request)
        # Without an hour, no job has used the session.
        self.jobs_served += int(self.reserved.count > 0)
        self.idle_since = time.monotonic()

    async def pay(self, account: HourAccount, request: SlotRequest[Slot], open_sessions: int) -> bool:
        """Reserve the hour in which the job starts (see `ReservedHours.pay`)."""
        return await self.reserved.pay(account, self.lifetime, request.run, self.label, open_sessions)

    async def renew(self, account: HourAccount) -> None:
        """Reserve another hour for the last job that runs here. After a refusal, the session ends with its hour."""
        run = self.requests[-1].run if self.requests else self.reserved.payer
        await self.reserved.renew(account, run, self.label)

    def record_billed_hours(self, until: float | None = None) -> None:
        """Add the hours that the session has started until now, or until a given time (seconds since 1970)."""
        before = self.billed_hours
        self.billed_hours = self.lifetime.add_started_hours(before, until or self.lifetime.alive_until(time.time()))
        self.unwritten = self.unwritten or self.billed_hours != before

    def mark_responded(self, since: float) -> None:
        """Record that the session responded to a call that was sent at `since` (seconds since 1970)."""
        if not self.lifetime.started:
            self.lifetime.start(since)
            self.record_billed_hours()
        self.lifetime.mark_responded(time.time())

    def mark_alive(self) -> None:
        """Record that the session is confirmed to be the same one."""
        self.lifetime.mark_alive(time.time())

    def mark_replaced(self) -> None:
        """Record that the session expired and that a new, empty one has its identifier."""
        self._end_lifetime()
        self.mark_responded(time.time())

    def _end_lifetime(self) -> None:
        self.record_billed_hours()
        self.reserved.use(self.lifetime.counted)
        self.lifetime = SessionLifetime(self.settings.pool_cooldown)

    def new_session(self, *, engine_installed: bool) -> Session:
        """Create the client of the session that `identifier` names."""
        return Session(
            self.client,
            self.identifier,
            engine_installed=engine_installed,
            lease_is_valid=lambda: self.lease_is_valid,
            name=f"{PurePosixPath(self.name).stem}.{self.generation}",
            limits=BatchLimits.of(self.settings),
            image_may_have_engine=self.settings.pool_is_custom_container,
            observer=self,
        )

    def new_identity(self) -> None:
        """Choose a new identifier, under which no session exists yet."""
        self.reset()
        self.identifier, self.generation, self.recycle_reason = secrets.token_hex(16), self.generation + 1, ""
        self.session = self.new_session(engine_installed=False)

    def reset(self) -> None:
        """Forget the session and its identifier."""
        self.identifier, self.jobs_served, self.label, self.reserved = "", 0, "", ReservedHours()
        self.lifetime = SessionLifetime(self.settings.pool_cooldown)

    async def write(self, state: SlotState | None = None, **fields: float) -> None:
        """Write the document, `in use` unless `state` is FREE or COOLING. Of several writes the last one counts.

        Args:
            state: State that the document announces to the next holder.
            **fields: Further fields of the document, such as `until`.

        Raises:
            PipelineError: Storage did not accept the write; `unwritten` is set then.
        """
        async with self._writing:
            self.unwritten = False
            announced = str(state) if state in FINAL else "in use"
            try:
                await self.document.write({"state": announced, **self._content(), **fields})
            except BaseException:
                self.unwritten = True
                raise

    def _content(self) -> dict[str, Any]:
        return {
            "identifier": self.identifier,
            "generation": self.generation,
            "used": self.jobs_served,
            "born": self.lifetime.started,
            "last": self.lifetime.last_used,
            "counted": self.lifetime.counted,
            "hours": str(self.billed_hours),
            "holder": self.holder,
            "engine": engine_bundle.build().digest if self.session.engine_installed else "",
            "label": self.label,
            "paid": self.reserved.count,
            "payer": self.reserved.payer,
        }
