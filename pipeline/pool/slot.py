"""One slot of the pool: its document, the session it names, and whether further jobs should start there."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Protocol, Self

from pipeline.pool import engine_bundle
from pipeline.pool.batching import Bounds
from pipeline.pool.billing import Hours, Life
from pipeline.pool.client import PoolClient
from pipeline.pool.requests import Ask
from pipeline.pool.session import Session
from pipeline.settings import Settings

# The label of jobs whose images are all one's own: their sessions are recycled for age, and after so many jobs that
# no kernel is asked for more.
TRUSTED, TRUSTED_JOBS = "trusted", 10_000

# A lease counts as ours for this much less than its length: a call that starts then may take a while to arrive.
MARGIN = 5.0


class Document(Protocol):
    """A slot's document while this process holds it."""

    content: dict[str, Any]

    async def write(self, content: dict[str, Any]) -> None:
        """Replace the content."""

    async def renew(self) -> None:
        """Start the lease's time anew."""

    async def release(self) -> None:
        """Give it back."""


class Documents(Protocol):
    """Where the slots' documents are."""

    async def free(self, count: int) -> list[str]:
        """Those of the first `count` that nobody holds."""

    async def take(self, name: str) -> Document | None:
        """Hold one, unless another process does."""

    async def wish(self, held: int, *, more: bool) -> None:
        """Let the others know how many this process holds, and whether it has work for more."""

    async def wish_no_more(self) -> None:
        """Take that back."""

    async def wishes(self) -> list[tuple[int, bool]]:
        """How many each of the others holds that says so, and whether it has work for more."""


@dataclass(eq=False)
class Slot:
    """A slot that this process has leased. `leased` is the monotonic time of the last renewal.

    `hours` are those of all its sessions, `life` is the present one's; `unwritten` says that the document lacks some.
    """

    name: str
    document: Document
    settings: Settings
    client: PoolClient
    leased: float
    identifier: str = ""
    generation: int = 0
    used: int = 0
    hours: Hours = field(default_factory=Hours)
    unwritten: bool = False
    holder: str = ""
    state: str = ""
    label: str = ""
    seats: list[Ask[Slot]] = field(default_factory=list)
    idle_since: float = 0.0
    doubt: str = ""
    lost: bool = False
    in_chore: bool = True
    leaving: bool = False
    renewing: bool = False
    session: Session = field(init=False)
    life: Life = field(init=False)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    def found(cls, name: str, document: Document, settings: Settings, client: PoolClient, leased: float) -> Self:
        """The slot as its document describes it. In doubt when its last holder did not give it back."""
        said = document.content
        slot = cls(name, document, settings, client, leased)
        slot.generation, slot.used = int(said.get("generation", 0)), int(said.get("used", 0))
        # A session that was left to cool down has ended by itself when somebody may take its slot.
        slot.identifier = "" if said.get("state") == "cooling" else str(said.get("identifier", ""))
        slot.label, slot.hours = str(said.get("label", "")), Hours.parse(str(said.get("hours", "")))
        slot.life = Life.read(said if slot.identifier else {}, settings.pool_cooldown)
        slot.session = slot.new_session(equipped=said.get("engine") == engine_bundle.build().digest)
        slot.count()
        if said.get("state") != "free":
            slot.doubt = "taken over" if slot.identifier else "new"
        return slot

    @property
    def jobs(self) -> int:
        """How many jobs are under way here."""
        return len(self.seats)

    @property
    def cooling(self) -> bool:
        """Whether a session that could not be ended may still be there."""
        return self.document.content.get("state") == "cooling" and self.document.content.get("until", 0) > time.time()

    @property
    def is_ours(self) -> bool:
        """Whether the lease certainly holds."""
        return not self.lost and time.monotonic() < self.leased + self.settings.slot_lease - MARGIN

    @property
    def in_doubt(self) -> str:
        """Why the session is not to be trusted any more; empty when it is."""
        return self.doubt or self.session.tainted

    @property
    def worn(self) -> bool:
        """Whether no further job should start in this session."""
        old = self.life.born and time.time() - self.life.born > self.settings.session_age
        nothing = self.in_doubt or not self.identifier or not self.is_ours
        most = TRUSTED_JOBS if self.label == TRUSTED else self.settings.session_jobs
        return bool(nothing or old or self.used + self.jobs >= most)

    @property
    def idle(self) -> bool:
        """Whether nothing at all goes on here."""
        return self.jobs == 0 and not self.in_chore

    @property
    def wants_writing(self) -> bool:
        """Whether the document is to be written, and nobody is at it."""
        return self.unwritten and not self._writing.locked()

    def has_seat(self, ask: Ask[Slot]) -> bool:
        """Whether a job may start here now. A session that has served nobody yet takes any label; None is nobody's.

        Beyond the depth there are seats for small jobs, as many as so many executions take in.
        """
        if self.in_chore or self.leaving or self.worn or self.session.overdue:
            return False
        if self.jobs == 0 and self.used == 0:
            return True
        if ask.label is None or self.label != ask.label:
            return False
        depth = self.settings.session_depth
        return self.jobs < depth or Bounds.of(self.settings).times(depth).room(self.seats, ask)

    def take_seat(self, ask: Ask[Slot]) -> None:
        """Count a job in. A session that is nobody's takes this one and no other."""
        ask.since = time.time()
        self.life.used(ask.since)
        self.seats.append(ask)
        if self.life.unproven and not self.session.equipped:
            self._ended()
        self.label = ask.label or "single"
        if ask.label is None:
            self.doubt = "single"

    def leave_seat(self, ask: Ask[Slot]) -> None:
        """Count it out again."""
        self.seats.remove(ask)
        self.used += 1
        self.idle_since = time.monotonic()

    def count(self, until: float | None = None) -> None:
        """Count the hours that the session has begun, until now or a time that is known."""
        before = self.hours
        self.hours = self.life.count(before, until or self.life.until(time.time()))
        self.unwritten = self.unwritten or self.hours != before

    def answered(self, since: float) -> None:
        """The session is there: it has begun, if it had not before."""
        if not self.life.born:
            self.life.begin(since)
            self.count()
        self.life.answered(time.time())

    def ran(self) -> None:
        """It is the one that it was."""
        self.life.proven(time.time())

    def replaced(self) -> None:
        """It had ended by itself, and a new one has begun in its place, under the same identifier."""
        self._ended()
        self.answered(time.time())

    def _ended(self) -> None:
        self.count()
        self.life = Life(self.settings.pool_cooldown)

    def new_session(self, *, equipped: bool) -> Session:
        """The session that `identifier` names."""
        return Session(
            self.client,
            self.identifier,
            equipped=equipped,
            is_ours=lambda: self.is_ours,
            name=f"{PurePosixPath(self.name).stem}.{self.generation}",
            bounds=Bounds.of(self.settings),
            may_bring_engine=self.settings.pool_is_custom_container,
            watcher=self,
        )

    def start_over(self) -> None:
        """A new identifier, under which no session exists yet."""
        self.emptied()
        self.identifier, self.generation, self.doubt = secrets.token_hex(16), self.generation + 1, ""
        self.session = self.new_session(equipped=False)

    def emptied(self) -> None:
        """No session is here any more, nor the name for one."""
        self.identifier, self.used, self.label = "", 0, ""
        self.life = Life(self.settings.pool_cooldown)

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
            "born": self.life.born,
            "last": self.life.last,
            "counted": self.life.counted,
            "hours": str(self.hours),
            "holder": self.holder,
            "engine": engine_bundle.build().digest if self.session.equipped else "",
            "label": self.label,
        }
