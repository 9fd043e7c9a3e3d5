"""The session pool as its slots tell it: who has a session, what it does there, how worn it is, what all cost.

Never an identifier.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from pipeline.api.http import Request, Response
from pipeline.api.links import Links
from pipeline.api.schemas import DOCUMENT
from pipeline.errors import JobSuperseded
from pipeline.pool.billing import BilledHours, SessionLifetime
from pipeline.pool.drain import end_idle_session
from pipeline.services import Services
from pipeline.storage.leased_documents import DocumentSummary

SlotState = Literal["free", "leased", "dirty", "cooling"]
ANSWER = 60.0
"""Seconds that a slot's holder has to answer to whoever asks for the end of its session. It looks every ten."""


class SlotJobDocument(BaseModel):
    """A job in a session."""

    model_config = DOCUMENT

    recipe: str
    container: str
    source: str
    since: datetime


class SlotDocument(BaseModel):
    """One slot, as its holder told it within the last seconds, or its last holder wrote it down."""

    model_config = DOCUMENT

    number: int = Field(ge=0)
    state: SlotState
    """dirty: its last holder died, so that the next one ends its session. cooling: the pool could not end it."""
    generation: int = Field(ge=0)
    """How many sessions there have been."""
    uses: int = Field(ge=0)
    """Jobs that the session has served."""
    age: float | None
    """Seconds since the session began; null where there is none."""
    jobs: list[SlotJobDocument] = []
    """The first of those that are under way there."""
    count: int | None = None
    """How many there are; null when nobody has told yet."""
    draining: bool = False
    """Whether the session ends as soon as its jobs are through."""
    asked: datetime | None = None
    """Since when somebody asks for the end of this session."""
    recycle: str
    """Where to ask for a new session."""


class HoursDocument(BaseModel):
    """Session-hours begun, each of which is paid: at least so many, of sessions that run and that have ended."""

    model_config = DOCUMENT

    today: int
    """Since midnight, UTC."""
    month: int
    """Since the first of this month, UTC."""
    total: int
    """Since `since`, the day of the first that was counted."""
    since: str
    price: float | None
    """Of one, by the settings; null where sessions are not paid one by one, as in a pool with its own image."""


class PoolDocument(BaseModel):
    """All slots, how many are in which state, and what sessions have cost."""

    model_config = DOCUMENT

    capacity: int = Field(ge=1)
    free: int
    leased: int
    dirty: int
    cooling: int
    saturation: float = Field(ge=0, le=1)
    """The part of the capacity that nobody can take now: leased or cooling."""
    hours: HoursDocument
    slots: list[SlotDocument]


class RecycledDocument(BaseModel):
    """What becomes of a slot whose session is not wanted any more."""

    model_config = DOCUMENT

    number: int
    outcome: Literal["ended", "nothing", "soon", "asked", "taken_away"]
    """ended: the session is gone. nothing: there was none. soon: its holder ends it after its jobs. asked: its holder,
    another process, has been asked to. taken_away: it has not answered within a minute, and loses the slot."""


@dataclass(frozen=True)
class _Seen:
    """What is known of the slots: a listing of their documents, what their holders tell, what is asked of them."""

    glimpses: dict[str, DocumentSummary]
    told: dict[str, dict[str, Any]]
    asked: dict[str, tuple[int, float]]
    cooldown: float
    now: float

    def slot(self, number: int, name: str, links: Links) -> SlotDocument:
        """A slot's document; there may be nothing to say of one that nobody has used yet."""
        glimpse = self.glimpses.get(name)
        shown = glimpse.fields if glimpse else {}
        state, generation = _state(glimpse, self.now), int(shown.get("generation", 0))
        told = self.teller(name)
        known = told or {}
        asked = self.asked.get(name, (0, 0.0))
        return SlotDocument(
            number=number,
            state=state,
            generation=int(known.get("generation", generation)),
            uses=int(known.get("uses", shown.get("used", 0))),
            age=self._age(SessionLifetime.read({**shown, **known}, self.cooldown), state),
            jobs=[_job(*job) for job in known.get("jobs", [])],
            count=known.get("count"),
            draining=bool(known.get("draining")),
            asked=datetime.fromtimestamp(asked[1], UTC) if state == "leased" and asked[0] == generation else None,
            recycle=links.to("pool", "slots", str(number), "recycle"),
        )

    def teller(self, name: str) -> dict[str, Any] | None:
        """What the present holder of a slot tells of it, if it has done so."""
        told, glimpse = self.told.get(name), self.glimpses.get(name)
        if told is None or glimpse is None or not glimpse.held:
            return None
        mine = told["holder"] == ""
        theirs = told["holder"] == glimpse.fields.get("holder")
        return told if mine or (theirs and str(told["generation"]) == glimpse.fields.get("generation")) else None

    def _age(self, life: SessionLifetime, state: SlotState) -> float | None:
        """How old the session is; None when there is none, or it has ended by itself."""
        over = state == "free" and life.ends < self.now
        return round(max(0.0, self.now - life.started), 1) if life.started and not over else None

    def hours(self, price: float | None) -> HoursDocument:
        """What all documents have counted, and what sessions that nobody holds have begun since."""
        counts = []
        for glimpse in self.glimpses.values():
            counted, life = (
                BilledHours.parse(glimpse.fields.get("hours", "")),
                SessionLifetime.read(glimpse.fields, self.cooldown),
            )
            free = _state(glimpse, self.now) == "free"
            counts.append(life.add_started_hours(counted, min(self.now, life.ends)) if free else counted)
        found = BilledHours.sum(counts, self.now)
        return HoursDocument(
            today=found.today, month=found.month, total=found.total, since=found.since or found.day, price=price
        )


def _job(recipe: str, container: str, name: str, since: float) -> SlotJobDocument:
    return SlotJobDocument(recipe=recipe, container=container, source=name, since=datetime.fromtimestamp(since, UTC))


def _state(glimpse: DocumentSummary | None, now: float) -> SlotState:
    if glimpse is None:
        return "free"
    if glimpse.held:
        return "leased"
    match glimpse.fields.get("state", "free"):
        case "cooling":
            return "cooling" if float(glimpse.fields.get("until", 0)) > now else "free"
        case "free":
            return "free"
        case _:
            return "dirty"


async def _look(services: Services) -> _Seen:
    """One listing and one range read, however many slots there are. Of its own slots this process knows more."""
    glimpses, (told, asked) = await asyncio.gather(services.slot_documents.summaries(), services.slot_status.read_all())
    seen = {each.name: each for each in glimpses}
    return _Seen(
        seen, {**told, **services.scheduler.status_rows()}, asked, services.settings.pool_cooldown, time.time()
    )


async def overview(services: Services, links: Links) -> PoolDocument:
    """The pool now."""
    settings, documents = services.settings, services.slot_documents
    capacity, seen = settings.pool_max_sessions, await _look(services)
    slots = [seen.slot(number, documents.name(number), links) for number in range(capacity)]
    states = Counter(slot.state for slot in slots)
    taken = states["leased"] + states["cooling"]
    return PoolDocument(
        capacity=capacity,
        free=states["free"],
        leased=states["leased"],
        dirty=states["dirty"],
        cooling=states["cooling"],
        saturation=round(taken / capacity, 4),
        hours=seen.hours(None if settings.pool_is_custom_container else settings.price_session_hour),
        slots=slots,
    )


async def show(services: Services, call: Request) -> Response:
    """`GET /api/pool`: the slots and their states."""
    return Response(await overview(services, call.links))


async def recycle(services: Services, call: Request) -> Response:
    """`POST /api/pool/slots/{number}/recycle`: a new session for a slot, as soon as its jobs are through."""
    found = await new_session(services, call.parameter("number"))
    return Response(found, 200 if found.outcome in ("ended", "nothing") else 202)


async def new_session(services: Services, number: str) -> RecycledDocument:
    """End a slot's session. JobSuperseded of kind `unknown_slot` when there is no such slot."""
    capacity = services.settings.pool_max_sessions
    if not re.fullmatch(r"[0-9]{1,3}", number) or int(number) >= capacity:
        raise JobSuperseded(f"slots have the numbers 0 to {capacity - 1}", kind="unknown_slot")
    name = services.slot_documents.name(int(number))
    if services.scheduler.recycle(name):
        return RecycledDocument(number=int(number), outcome="soon")
    match await end_idle_session(name, services.settings, services.slot_documents, services.pool):
        case "held":
            return RecycledDocument(number=int(number), outcome=await _ask(services, name))
        case "emptied":
            return RecycledDocument(number=int(number), outcome="ended")
        case _:
            return RecycledDocument(number=int(number), outcome="nothing")


async def _ask(services: Services, name: str) -> Literal["nothing", "soon", "asked", "taken_away"]:
    """Ask the process that holds a slot. One that has not answered in time loses it at its next renewal.

    Whoever takes the slot then ends the session; jobs that are in it begin again elsewhere.
    """
    seen = await _look(services)
    if name not in seen.glimpses:
        return "nothing"
    if (seen.teller(name) or {}).get("draining"):
        return "soon"
    since = await services.slot_status.request_recycling(name, int(seen.glimpses[name].fields.get("generation", 0)))
    if time.time() - since < ANSWER:
        return "asked"
    await services.slot_documents.break_lease(name)
    return "taken_away"
