"""Start the scheduled run, once per night: timers of several hosts compete for the schedule's document."""

from dataclasses import dataclass

from pipeline.errors import RequestError
from pipeline.runs.active_recipes import ActiveRecipes
from pipeline.runs.lifecycle import RunController
from pipeline.runs.model import Run, now
from pipeline.runs.planning import new_id
from pipeline.runs.rounds import Night
from pipeline.runs.schedule import load_rounds
from pipeline.runs.selection import Selection
from pipeline.storage import Document, is_older
from pipeline.telemetry import logger

log = logger(__name__)
# The key of the schedule's document.
SCHEDULE_KEY = "run"
# Timers that fire within this time after a start are duplicates of it.
DUPLICATE_TIMER_SECONDS = 60
# A scheduled run that has listed nothing for so long gets its first message again.
STALLED_RUN_SECONDS = 3600
# The clocks of two instances differ by less than this.
MAX_CLOCK_ERROR_SECONDS = 3600


@dataclass(frozen=True)
class RunSchedule:
    """Starts the scheduled runs, in the newest deployment only: another one would bring back its recipe versions."""

    runs: RunController
    active: ActiveRecipes

    async def start(self) -> Run | None:
        """Start the scheduled run.

        Returns None if the last one has just started or is still working, or if none may start.

        A run whose messages seem to be lost is resumed: it would block all later ones.
        """
        await self.runs.pauses.ensure_version()
        if is_older(self.active.deployment, newest := await self.active.newest_deployment()):
            log.info(
                "no scheduled run is started: the newer deployment %d starts it",
                newest,
                extra={"event": "run.schedule_skipped"},
            )
            return None
        if "runs" in await self.runs.pauses.current():
            # Resuming a stalled run each night would multiply its messages, which wait in the queue.
            log.warning(
                "no scheduled run is started: runs are paused; it starts within minutes after `image-pipeline resume "
                "runs`",
                extra={"event": "run.schedule_paused"},
            )
            await self._note_missed()
            return None
        before = await self.runs.store.get("schedule", SCHEDULE_KEY)
        if before and await self._is_started(before):
            return None
        run_id = new_id()
        content = {"run": run_id, "at": now().timestamp()}
        written = await (
            self.runs.store.replace("schedule", SCHEDULE_KEY, before, content)
            if before
            else self.runs.store.create("schedule", SCHEDULE_KEY, content)
        )
        if written is None:
            return None
        selection = Selection(prefix=self.runs.settings.schedule_prefix, reasons=self.runs.settings.schedule_reasons)
        try:
            limit, cap, estimate = await self.runs.caps.scheduled_limit(selection)
        except RequestError as error:
            log.error("no scheduled run is started: %s", error, extra={"event": "run.schedule_refused"})  # noqa: TRY400
            return None
        number, rounds = await load_rounds(self.runs.store, selection.prefix)
        run = Run(
            id=run_id,
            selection=selection,
            scheduled=True,
            most=limit,
            cap=cap,
            estimate=estimate,
            night=Night.begin(number, limit, selection.reasons, rounds),
            recipe_versions=self.runs.finder.recipe_versions(selection),
        )
        return await self.runs.begin(run)

    async def start_missed(self) -> Run | None:
        """Start the scheduled run that a pause of runs has prevented, once it has ended; None if there is none."""
        document = await self.runs.store.get("schedule", SCHEDULE_KEY)
        if not (document and document.content.get("missed")) or "runs" in await self.runs.pauses.current():
            return None
        return await self.start()

    async def _note_missed(self) -> None:
        """Store that a pause has prevented a scheduled run. The start of the next one removes the note."""
        before = await self.runs.store.get("schedule", SCHEDULE_KEY)
        if before is None:
            await self.runs.store.create("schedule", SCHEDULE_KEY, {"run": "", "at": 0.0, "missed": True})
        elif not before.content.get("missed"):
            content = {"run": "", "at": 0.0, **before.content, "missed": True}
            await self.runs.store.replace("schedule", SCHEDULE_KEY, before, content)

    async def _is_started(self, before: Document) -> bool:
        """Return True if another timer has just started the scheduled run, or the last one is still working."""
        last = _last_start(before)
        if last is None:
            return False
        run_id, age = last
        recent = age < DUPLICATE_TIMER_SECONDS
        run = None if recent else await self.runs.records.find(run_id)
        if not recent and (run is None or run.state != "working"):
            return False
        log.info(
            "no scheduled run is started: run %s is working, or has just started",
            run_id,
            extra={"event": "run.schedule_skipped"},
        )
        if run and await self._is_stalled(run, age):
            content = {**before.content, "at": now().timestamp()}
            if await self.runs.store.replace("schedule", SCHEDULE_KEY, before, content):
                await self.runs.resume(run.id)
        return True

    async def _is_stalled(self, run: Run, age: float) -> bool:
        """Return True if the messages of a run seem to be lost: the queue is empty, or nothing was listed for an hour.

        Each batch that waits has a message. In a backlog, resuming the run at each timer would multiply them.
        """
        has_listed = run.listed or run.pages > 0
        if not has_listed and age >= STALLED_RUN_SECONDS:
            return True
        return await self.runs.queue.length(missing_ok=True) == 0


def _last_start(schedule: Document) -> tuple[str, float] | None:
    """Return the id of the last run and the seconds since its start; None if there is none.

    After an edit by hand, the document may hold any values, and a time in the future would prevent all later runs.
    """
    run, at = schedule.content.get("run"), schedule.content.get("at")
    if not (isinstance(run, str) and isinstance(at, int | float)):
        return None
    age = now().timestamp() - at
    return (run, age) if age > -MAX_CLOCK_ERROR_SECONDS else None
