"""Pool page: slots with their sessions and running jobs, circuit breakers and pauses; recycling, pausing, resuming."""

from __future__ import annotations

import time
from dataclasses import dataclass

import azure.functions as func
from markupsafe import Markup

from pipeline.console import charts, responses
from pipeline.console.auth import CONSOLE_PATH
from pipeline.console.formatting import plural
from pipeline.console.request import ConsoleRequest
from pipeline.jobs.admission import Admission
from pipeline.jobs.pauses import WORK, Work
from pipeline.jobs.preview import PREVIEW_CONTAINER
from pipeline.monitoring.admission import BreakerOverview
from pipeline.monitoring.pool_overview import RECYCLE_TIMEOUT_SECONDS, PoolMonitor, SlotCounts, SlotJob, SlotOverview
from pipeline.pool.slot import TRUSTED_SESSION_MAX_JOBS
from pipeline.pool.status import MAX_NAME_CHARACTERS
from pipeline.settings import Settings
from pipeline.storage import JobKey

SLOTS_PER_PAGE, MAX_JOBS_PER_ROW = 30, 3


@dataclass(frozen=True)
class SlotRow:
    """A slot in the list.

    Attributes:
        slot: The slot.
        activity: The activity besides the listed jobs, in words.
        jobs: The listed jobs, each with its id, or an empty id if it has no page.
        is_overdue: True if the slot's holder has not acted on a recycle request in time.
    """

    slot: SlotOverview
    activity: str
    jobs: list[tuple[SlotJob, str]]
    is_overdue: bool

    @classmethod
    def of(cls, slot: SlotOverview) -> SlotRow:
        """Return the row of a slot."""
        requested = slot.recycle_requested
        is_overdue = requested is not None and time.time() - requested.timestamp() >= RECYCLE_TIMEOUT_SECONDS
        return cls(slot, _activity(slot), [(job, _job_id(job)) for job in slot.jobs[:MAX_JOBS_PER_ROW]], is_overdue)


@dataclass(frozen=True)
class PoolPages:
    """Show the pool, and recycle slots."""

    settings: Settings
    monitor: PoolMonitor
    admission: Admission

    async def show(self, request: ConsoleRequest) -> func.HttpResponse:
        """`GET pool`: show the slots."""
        overview = await self.monitor.overview()
        used = [slot for slot in overview.slots if slot.state != "free" or slot.age is not None]
        offset = request.query.get("offset", "")
        first = min(int(offset), len(used)) if offset.isascii() and offset.isdigit() and len(offset) < 5 else 0
        next_offset = first + SLOTS_PER_PAGE
        return request.render(
            "pool.html",
            pool=overview,
            split=slot_bar(overview),
            rows=[SlotRow.of(slot) for slot in used[first:next_offset]],
            first=first,
            next_offset=next_offset if next_offset < len(used) else None,
            sessions=sum(slot.age is not None for slot in used),
            unused=len(overview.slots) - len(used),
            settings=self.settings,
            trusted_max_jobs=TRUSTED_SESSION_MAX_JOBS,
            work=WORK,
            breakers=[BreakerOverview.of(each) for each in self.admission.breakers.values()],
        )

    async def recycle(self, request: ConsoleRequest) -> func.HttpResponse:
        """`POST pool/{number}/recycle`: recycle a slot."""
        result = await self.monitor.recycle(request.parts["number"])
        return responses.redirect(f"{CONSOLE_PATH}/pool?notice={result.outcome}")

    async def pause(self, request: ConsoleRequest) -> func.HttpResponse:
        """`POST work/{work}/pause`: pause a kind of work."""
        await self.admission.pauses.pause(_work(request))
        return responses.redirect(f"{CONSOLE_PATH}/pool?notice=work_paused")

    async def resume(self, request: ConsoleRequest) -> func.HttpResponse:
        """`POST work/{work}/resume`: end the pause of a kind of work."""
        await self.admission.pauses.resume(_work(request))
        return responses.redirect(f"{CONSOLE_PATH}/pool?notice=work_resumed")


def _work(request: ConsoleRequest) -> list[Work]:
    return [work for work in WORK if work == request.parts["work"]]


def slot_bar(counts: SlotCounts) -> Markup:
    """Draw the slots as one bar, by their state."""
    parts = [("leased", "c1", counts.leased), ("dirty", "c3", counts.dirty), ("cooling", "c2", counts.cooling)]
    return charts.bar("Slots", [*parts, ("free", "none", counts.free)])


def _activity(slot: SlotOverview) -> str:
    """Describe the activity in a slot besides the listed jobs."""
    match slot.state:
        case "dirty":
            return "its next holder ends the session"
        case "cooling":
            return "the session expires without use"
        case "free":
            return "idle session, kept for the next job"
    if slot.count is None:
        return "leased just now, no status yet"
    more = slot.count - len(slot.jobs[:MAX_JOBS_PER_ROW])
    if more:
        return f"and {more} more" if slot.jobs else plural(more, "job")
    return "" if slot.jobs else "idle, kept for the next job"


def _job_id(job: SlotJob) -> str:
    """Return the id of a job with a page. Previews have none, and a name at the length limit may be cut off."""
    if job.container == PREVIEW_CONTAINER or len(job.source) >= MAX_NAME_CHARACTERS:
        return ""
    return JobKey.of(job.recipe, job.container, job.source).id
