"""The pool: every slot with its session's age, uses and generation; ending one."""

from __future__ import annotations

from math import ceil

import azure.functions as func
from markupsafe import Markup

from pipeline.services import Services
from pipeline.web import pool
from pipeline.web.console import answers, charts
from pipeline.web.console.access import PATH
from pipeline.web.console.visit import Visit
from pipeline.web.links import Links

HOUR = 3600
OUTCOMES = {"ended": "recycled", "soon": "recycling", "nothing": "nothing"}


async def show(visit: Visit) -> func.HttpResponse:
    """`GET pool`: the slots."""
    found, settings = await pool.overview(visit.services, Links()), visit.services.settings
    used = [slot for slot in found.slots if slot.state != "free" or slot.age is not None]
    hours = hours_begun(found)
    return visit.page(
        "pool.html",
        pool=found,
        split=split(found),
        used=[(slot, _doing(visit.services, slot)) for slot in used],
        untouched=len(found.slots) - len(used),
        hours=hours,
        cost=hours * settings.price_session_hour,
        settings=settings,
    )


def _doing(services: Services, slot: pool.SlotDocument) -> str:
    """What goes on in a slot, in words. Of what other instances do there, only they know."""
    jobs = services.slots.working().get(services.slot_documents.name(slot.number))
    if jobs is not None:
        return f"{jobs} {'job' if jobs == 1 else 'jobs'} of this instance" if jobs else "waits for work"
    return {
        "leased": "held by another instance",
        "dirty": "ended by whoever takes it next",
        "cooling": "ends by itself",
        "free": "kept warm" if slot.age else "",
    }[slot.state]


async def recycle(visit: Visit) -> func.HttpResponse:
    """`POST pool/{number}/recycle`: end a slot's session."""
    found = await pool.new_session(visit.services, visit.parts["number"])
    return answers.go_to(f"{PATH}/pool?told={OUTCOMES[found.outcome]}")


def hours_begun(found: pool.PoolDocument) -> int:
    """What the sessions that are there now are billed for: every hour that each of them has begun."""
    return sum(ceil(max(slot.age, 1) / HOUR) for slot in found.slots if slot.age is not None)


def split(found: pool.PoolDocument) -> Markup:
    """The slots as one bar, by their state."""
    parts = [("leased", "c1", found.leased), ("dirty", "c3", found.dirty), ("cooling", "c2", found.cooling)]
    return charts.bar("Slots", [*parts, ("free", "none", found.free)])
