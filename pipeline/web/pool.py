"""The session pool as its slots tell it: who has a session, how worn it is, how much is free. Never an identifier."""

from __future__ import annotations

import re
import time
from collections import Counter
from typing import Literal, Self

from pydantic import BaseModel, Field

from pipeline.errors import JobOvertaken
from pipeline.services import Services
from pipeline.sessions.drain import empty
from pipeline.storage.leases import Glimpse
from pipeline.web.documents import DOCUMENT
from pipeline.web.http import Answer, Call
from pipeline.web.links import Links

SlotState = Literal["free", "leased", "dirty", "cooling"]


class SlotDocument(BaseModel):
    """One slot, as its last holder wrote it down."""

    model_config = DOCUMENT

    number: int = Field(ge=0)
    state: SlotState
    """dirty: its last holder died, so that the next one ends its session. cooling: the pool could not end it."""
    generation: int = Field(ge=0)
    """How many sessions there have been."""
    uses: int = Field(ge=0)
    """Jobs that the session had served when the slot was last taken or given back."""
    age: float | None
    """Seconds since the session began; null where there is none."""
    recycle: str
    """Where to ask for a new session."""

    @classmethod
    def of(cls, number: int, glimpse: Glimpse | None, links: Links, now: float) -> Self:
        """The slot's document in a listing as one of ours; None where nobody has used the slot yet."""
        shown = glimpse.shown if glimpse else {}
        born = float(shown.get("born", 0))
        return cls(
            number=number,
            state=_state(glimpse, now),
            generation=int(shown.get("generation", 0)),
            uses=int(shown.get("used", 0)),
            age=round(max(0.0, now - born), 1) if born else None,
            recycle=links.to("pool", "slots", str(number), "recycle"),
        )


class PoolDocument(BaseModel):
    """All slots, and how many are in which state."""

    model_config = DOCUMENT

    capacity: int = Field(ge=1)
    free: int
    leased: int
    dirty: int
    cooling: int
    saturation: float = Field(ge=0, le=1)
    """The part of the capacity that nobody can take now: leased or cooling."""
    slots: list[SlotDocument]


class RecycledDocument(BaseModel):
    """What becomes of a slot whose session is not wanted any more."""

    model_config = DOCUMENT

    number: int
    outcome: Literal["ended", "nothing", "soon"]
    """ended: the session is gone. nothing: there was none. soon: whoever holds the slot ends it after its jobs."""


def _state(glimpse: Glimpse | None, now: float) -> SlotState:
    if glimpse is None:
        return "free"
    if glimpse.held:
        return "leased"
    match glimpse.shown.get("state", "free"):
        case "cooling":
            return "cooling" if float(glimpse.shown.get("until", 0)) > now else "free"
        case "free":
            return "free"
        case _:
            return "dirty"


async def overview(services: Services, links: Links) -> PoolDocument:
    """The pool now: one listing, whatever its size."""
    capacity, now, documents = services.settings.pool_max_sessions, time.time(), services.slot_documents
    seen = {each.name: each for each in await documents.glimpses()}
    slots = [SlotDocument.of(number, seen.get(documents.name(number)), links, now) for number in range(capacity)]
    states = Counter(slot.state for slot in slots)
    taken = states["leased"] + states["cooling"]
    return PoolDocument(
        capacity=capacity,
        free=states["free"],
        leased=states["leased"],
        dirty=states["dirty"],
        cooling=states["cooling"],
        saturation=round(taken / capacity, 4),
        slots=slots,
    )


async def show(services: Services, call: Call) -> Answer:
    """`GET /api/pool`: the slots and their states."""
    return Answer(await overview(services, call.links))


async def recycle(services: Services, call: Call) -> Answer:
    """`POST /api/pool/slots/{number}/recycle`: a new session for a slot, as soon as its jobs are through."""
    found = await new_session(services, call.parameter("number"))
    return Answer(found, 202 if found.outcome == "soon" else 200)


async def new_session(services: Services, number: str) -> RecycledDocument:
    """End a slot's session. JobOvertaken of kind `unknown_slot` when there is no such slot."""
    capacity = services.settings.pool_max_sessions
    if not re.fullmatch(r"[0-9]{1,3}", number) or int(number) >= capacity:
        raise JobOvertaken(f"slots have the numbers 0 to {capacity - 1}", kind="unknown_slot")
    name = services.slot_documents.name(int(number))
    if services.slots.recycle(name):
        return RecycledDocument(number=int(number), outcome="soon")
    match await empty(name, services.settings, services.slot_documents, services.pool):
        case "held" if await _exists(services, name):
            # Its holder lets go at the next renewal, and whoever takes the slot then ends the session.
            await services.slot_documents.end_lease(name)
            return RecycledDocument(number=int(number), outcome="soon")
        case "emptied":
            return RecycledDocument(number=int(number), outcome="ended")
        case _:
            return RecycledDocument(number=int(number), outcome="nothing")


async def _exists(services: Services, name: str) -> bool:
    return any(each.name == name for each in await services.slot_documents.glimpses())
