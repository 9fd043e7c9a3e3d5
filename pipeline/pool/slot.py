"""One slot of the pool: its document, the session it names, and whether further jobs should start there."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Protocol, Self

from pipeline.pool import engine_bundle
from pipeline.pool.batching import BatchLimits
from pipeline.pool.billing import BilledHours, SessionLifetime
from pipeline.pool.client import PoolClient
from pipeline.pool.requests import SlotRequest
from pipeline.pool.session import Session
from pipeline.settings import Settings

# The label of jobs whose images are all one's own: their sessions are recycled for age, and after so many jobs that
# no kernel is asked for more.
TRUSTED, TRUSTED_SESSION_MAX_JOBS = "trusted", 10_000

# A lease counts as ours for this much less than its length: a call that starts then may take a while to arrive.
LEASE_MARGIN_SECONDS = 5.0


class SlotDocument(Protocol):
    """A slot's document while this process holds it."""

    content: dict[str, Any]

    async def write(self, content: dict[str, Any]) -> None:
        """Replace the content."""

    async def renew(self) -> None:
        """Start the lease's time anew."""

    async def release(self) -> None:
        """Give it back."""


class SlotDocuments(Protocol):
    """Where the slots' documents are."""

    async def list_free(self, count: int) -> list[str]:
        """Those of the first `count` that nobody holds."""

    async def acquire(self, name: str) -> SlotDocument | None:
        """Hold one, unless another process does."""

    async def publish_demand(self, held: int, *, more: bool) -> None:
        """Let the others know how many this process holds, and whether it has work for more."""

    async def withdraw_demand(self) -> None:
        """Take that back."""

    async def demands(self) -> list[tuple[int, bool]]:
        """How many each of the others holds that says so, and whether it has work for more."""


@dataclass(eq=False)
class Slot:
    """A slot that this process has leased. `leased` is the monotonic time of the last renewal.

    `hours` are those of all its sessions, `life` is the present one's; `unwritten` says that the document lacks some.
    """

    name: str
    document: SlotDocument
    settings: Settings
    client: PoolClient
    leased: float
    identifier: str = ""
    generation: int = 0
    used: int = 0
    billed_hours: BilledHours = field(default_factory=BilledHours)
    unwritten: bool = False
    holder: str = ""
    state: str = ""
    label: str = ""
    requests: list[SlotRequest[Slot]] = field(default_factory=list)
    idle_since: float = 0.0
    recycle_reason: str = ""
    lost: bool = False
    maintenance: bool = True
    draining: bool = False
    renewing: bool = False
    session: Session = field(init=False)
    lifetime: SessionLifetime = field(init=False)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    def from_document(
        cls, name: str, document: SlotDocument, settings: Settings, client: PoolClient, leased: float
    ) -> Self:
        """The slot as its document describes it. In doubt when its last holder did not give it back."""
        said = document.content
        slot = cls(name, document, settings, client, leased)
        slot.generation, slot.used = int(said.get("generation", 0)), int(said.get("used", 0))
        # A session that was left to cool down has ended by itself when somebody may take its slot.
        slot.identifier = "" if said.get("state") == "cooling" else str(said.get("identifier", ""))
        slot.label, slot.billed_hours = str(said.get("label", "")), BilledHours.parse(str(said.get("hours", "")))
        slot.lifetime = SessionLifetime.read(said if slot.identifier else {}, settings.pool_cooldown)
        slot.session = slot.new_session(equipped=said.get("engine") == engine_bundle.build().digest)
        slot.record_billed_hours()
        if said.get("state") != "free":
            slot.recycle_reason = "taken over" if slot.identifier else "new"
        return slot

    @property
    def jobs(self) -> int:
        """How many jobs are under way here."""
        return len(self.requests)

    @property
    def cooling(self) -> bool:
        """Whether a session that could not be ended may still be there."""
        return self.document.content.get("state") == "cooling" and self.document.content.get("until", 0) > time.time()

    @property
    def lease_is_valid(self) -> bool:
        """Whether the lease certainly holds."""
        return (
            not self.lost and time.monotonic() < self.leased + self.settings.slot_lease_duration - LEASE_MARGIN_SECONDS
        )

    @property
    def in_doubt(self) -> str:
        """Why the session is not to be trusted any more; empty when it is."""
        return self.recycle_reason or self.session.tainted

    @property
    def needs_recycling(self) -> bool:
        """Whether no further job should start in this session."""
        old = self.lifetime.started and time.time() - self.lifetime.started > self.settings.session_max_age
        nothing = self.in_doubt or not self.identifier or not self.lease_is_valid
        most = TRUSTED_SESSION_MAX_JOBS if self.label == TRUSTED else self.settings.session_max_jobs
        return bool(nothing or old or self.used + self.jobs >= most)

    @property
    def idle(self) -> bool:
        """Whether nothing at all goes on here."""
        return self.jobs == 0 and not self.maintenance

    @property
    def wants_writing(self) -> bool:
        """Whether the document is to be written, and nobody is at it."""
        return self.unwritten and not self._writing.locked()

    def can_start(self, ask: SlotRequest[Slot]) -> bool:
        """Whether a job may start here now. A session that has served nobody yet takes any label; None is nobody's.

        Beyond the depth there are seats for small jobs, as many as so many executions take in.
        """
        if self.maintenance or self.draining or self.needs_recycling or self.session.overdue:
            return False
        if self.jobs == 0 and self.used == 0:
            return True
        if ask.label is None or self.label != ask.label:
            return False
        depth = self.settings.session_concurrency
        return self.jobs < depth or BatchLimits.of(self.settings).scaled(depth).fits(self.requests, ask)

    def start_job(self, ask: SlotRequest[Slot]) -> None:
        """Count a job in. A session that is nobody's takes this one and no other."""
        ask.since = time.time()
        self.lifetime.used(ask.since)
        self.requests.append(ask)
        if self.lifetime.unproven and not self.session.engine_installed:
            self._ended()
        self.label = ask.label or "single"
        if ask.label is None:
            self.recycle_reason = "single"

    def end_job(self, ask: SlotRequest[Slot]) -> None:
        """Count it out again."""
        self.requests.remove(ask)
        self.used += 1
        self.idle_since = time.monotonic()

    def record_billed_hours(self, until: float | None = None) -> None:
        """Count the hours that the session has begun, until now or a time that is known."""
        before = self.billed_hours
        self.billed_hours = self.lifetime.count(before, until or self.lifetime.until(time.time()))
        self.unwritten = self.unwritten or self.billed_hours != before

    def answered(self, since: float) -> None:
        """The session is there: it has begun, if it had not before."""
        if not self.lifetime.started:
            self.lifetime.begin(since)
            self.record_billed_hours()
        self.lifetime.answered(time.time())

    def mark_alive(self) -> None:
        """It is the one that it was."""
        self.lifetime.proven(time.time())

    def replaced(self) -> None:
        """It had ended by itself, and a new one has begun in its place, under the same identifier."""
        self._ended()
        self.answered(time.time())

    def _ended(self) -> None:
        self.record_billed_hours()
        self.lifetime = SessionLifetime(self.settings.pool_cooldown)

    def new_session(self, *, equipped: bool) -> Session:
        """The session that `identifier` names."""
        return Session(
            self.client,
            self.identifier,
            equipped=equipped,
            is_ours=lambda: self.lease_is_valid,
            name=f"{PurePosixPath(self.name).stem}.{self.generation}",
            bounds=BatchLimits.of(self.settings),
            may_bring_engine=self.settings.pool_is_custom_container,
            watcher=self,
        )

    def new_identity(self) -> None:
        """A new identifier, under which no session exists yet."""
        self.reset()
        self.identifier, self.generation, self.recycle_reason = secrets.token_hex(16), self.generation + 1, ""
        self.session = self.new_session(equipped=False)

    def reset(self) -> None:
        """No session is here any more, nor the name for one."""
        self.identifier, self.used, self.label = "", 0, ""
        self.lifetime = SessionLifetime(self.settings.pool_cooldown)

    async def write(self, state: str = "", **more: Any) -> None:  # noqa: ANN401 - JSON
        """Write the document: `in use` while this process holds it, `free` when clean, `cooling` until a time.

        Without a state it is written as it is. Of several writes the last one counts.
        """
        self.state = state or self.state
        async with self._writing:
            self.unwritten = False
            try:
                await self.document.write({**self._content(), **more})
            except BaseException:
                self.unwritten = True
                raise

    def _content(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "identifier": self.identifier,
            "generation": self.generation,
            "used": self.used,
            "born": self.lifetime.started,
            "last": self.lifetime.last_used,
            "counted": self.lifetime.counted,
            "hours": str(self.billed_hours),
            "holder": self.holder,
            "engine": engine_bundle.build().digest if self.session.engine_installed else "",
            "label": self.label,
        }
