"""The pool: every slot with its session's age, uses and generation, and what goes on there; ending one."""

from __future__ import annotations

import time
from dataclasses import dataclass

import azure.functions as func
from markupsafe import Markup

from pipeline.console import charts, responses
from pipeline.console.auth import PATH
from pipeline.console.request import ConsoleRequest
from pipeline.jobs.preview import PREVIEW_CONTAINER
from pipeline.monitoring.pool_overview import RECYCLE_TIMEOUT_SECONDS, PoolOverview, SlotJob, SlotOverview
from pipeline.pool.slot import TRUSTED_SESSION_MAX_JOBS
from pipeline.pool.status import MAX_NAME_CHARACTERS
from pipeline.storage.keys import JobKey

SHOWN, SHOWN_JOBS = 30, 3
"""Slots on a page, and jobs of each."""


@dataclass(frozen=True)
class Row:
    """A slot as the page shows it: what is said of it beside its jobs, and each job with its id, if it has one."""

    slot: SlotOverview
    doing: str
    jobs: list[tuple[SlotJob, str]]
    unanswered: bool

    @classmethod
    def of(cls, slot: SlotOverview) -> Row:
        """A slot's row. A holder that has not answered for long may be made to let go."""
        late = (
            slot.recycle_requested is not None
            and time.time() - slot.recycle_requested.timestamp() >= RECYCLE_TIMEOUT_SECONDS
        )
        return cls(slot, _doing(slot), [(job, _id(job)) for job in slot.jobs[:SHOWN_JOBS]], late)


async def show(visit: ConsoleRequest) -> func.HttpResponse:
    """`GET pool`: the slots."""
    found = await visit.services.pool_monitor.overview()
    used = [slot for slot in found.slots if slot.state != "free" or slot.age is not None]
    asked = visit.query.get("from", "")
    first = min(int(asked), len(used)) if asked.isascii() and asked.isdigit() and len(asked) < 5 else 0
    shown = used[first : first + SHOWN]
    return visit.page(
        "pool.html",
        pool=found,
        split=split(found),
        rows=[Row.of(slot) for slot in shown],
        first=first,
        following=first + SHOWN if first + SHOWN < len(used) else None,
        sessions=sum(slot.age is not None for slot in used),
        untouched=len(found.slots) - len(used),
        settings=visit.services.settings,
        trusted_jobs=TRUSTED_SESSION_MAX_JOBS,
    )


def _doing(slot: SlotOverview) -> str:
    """What goes on in a slot, in words, beside the jobs that are shown."""
    match slot.state:
        case "dirty":
            return "ended by whoever takes it next"
        case "cooling":
            return "ends by itself"
        case "free":
            return "kept warm"
    if slot.count is None:
        return "just taken: not told yet"
    more = slot.count - len(slot.jobs[:SHOWN_JOBS])
    if more:
        return f"and {more} more" if slot.jobs else f"{more} {'job' if more == 1 else 'jobs'}"
    return "" if slot.jobs else "waits for work"


def _id(job: SlotJob) -> str:
    """Where to look at a job; nowhere for previews, and where its name is too long to be told whole."""
    if job.container == PREVIEW_CONTAINER or len(job.source) >= MAX_NAME_CHARACTERS:
        return ""
    return JobKey.of(job.recipe, job.container, job.source).id


async def recycle(visit: ConsoleRequest) -> func.HttpResponse:
    """`POST pool/{number}/recycle`: end a slot's session."""
    found = await visit.services.pool_monitor.recycle(visit.parts["number"])
    return responses.go_to(f"{PATH}/pool?told={found.outcome}")


def split(found: PoolOverview) -> Markup:
    """The slots as one bar, by their state."""
    parts = [("leased", "c1", found.leased), ("dirty", "c3", found.dirty), ("cooling", "c2", found.cooling)]
    return charts.bar("Slots", [*parts, ("free", "none", found.free)])
