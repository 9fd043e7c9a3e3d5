"""Control runs from start to end: start, look up, cancel, stop and resume them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from pipeline.concurrency import gather_or_cancel
from pipeline.errors import RequestError, StateConflict
from pipeline.jobs.pauses import Pauses
from pipeline.jobs.session_hours import SessionHours
from pipeline.runs.caps import RunCaps
from pipeline.runs.model import Run, key_of, now
from pipeline.runs.planning import RunPlanner, new_id
from pipeline.runs.records import RunRecords
from pipeline.runs.selection import JobFinder, Selection
from pipeline.settings import Settings, variable
from pipeline.storage import UNFINISHED, JobQueue, RunStore, RunWork, is_older
from pipeline.telemetry import logger

log = logger(__name__)
MAX_CONCURRENT_SENDS = 16
# A resumed run may have 100,000 messages. One delivery sends at most this many, within seconds.
MAX_RESENT_BATCHES = 1000


@dataclass(frozen=True)
class RunController:
    """Start, look up, cancel, stop and resume runs."""

    settings: Settings
    records: RunRecords
    queue: JobQueue
    finder: JobFinder
    planner: RunPlanner
    caps: RunCaps
    pauses: Pauses
    hours: SessionHours

    @property
    def store(self) -> RunStore:
        """The table of runs."""
        return self.records.store

    async def start(
        self,
        selection: Selection | None = None,
        *,
        plan_id: str | None = None,
        expected_count: int | None = None,
        max_jobs: int | None = None,
        max_cost: float | None = None,
        reserve_id: Callable[[str], Awaitable[str]] | None = None,
    ) -> Run:
        """Start a planned run by the plan's id, or a selection by the number of jobs that the caller expects.

        If the run finds more jobs than expected, beyond PIPELINE_RUN_OVERRUN_TOLERANCE, it leaves the others: it ends
        with `more_due`.

        Args:
            selection: The jobs, if there is no plan.
            plan_id: The id of a complete plan.
            expected_count: The expected number of jobs, if there is no plan.
            max_jobs: A cap on the number of jobs, below that of the settings.
            max_cost: A cap on the estimated cost, below that of the settings.
            reserve_id: Receives the new run's id and returns the id to use. If a run with that id exists already, that
                run is returned; this makes a start idempotent.

        Raises:
            RequestError: There is neither a plan nor an expected number, or a cap is exceeded.
            StateConflict: The plan is incomplete.
        """
        if plan_id is not None:
            run = await self._planned(plan_id, selection, max_jobs, max_cost)
        elif expected_count is not None and selection is not None and not selection.sample:
            run = await self._counted(selection, expected_count, max_jobs, max_cost)
        else:
            raise RequestError(
                "make a plan and start it by its id, or give a selection and the number of jobs that you expect "
                "(a sample always needs a plan)",
                kind="no_plan",
            )
        return await self.begin(run, reserve_id)

    async def _planned(
        self, plan_id: str, selection: Selection | None, max_jobs: int | None, max_cost: float | None
    ) -> Run:
        """Return a new run of a plan. Raises StateConflict or RequestError if the plan does not allow it."""
        plan = await self.planner.get(plan_id)
        if not plan.complete:
            raise StateConflict(
                f"plan {plan.id} is not complete: continue planning with its marker first", kind="plan_incomplete"
            )
        if selection not in (None, plan.selection):
            raise RequestError(
                "the selection differs from the plan's: omit it, or make a new plan", kind="other_selection"
            )
        return Run(
            id=new_id(),
            selection=plan.selection,
            plan=plan.id,
            expected=plan.jobs,
            most=self.caps.job_limit(plan.jobs, plan.estimate, max_jobs, max_cost),
            recipe_versions=plan.recipe_versions,
            deployment=plan.deployment,
            last_rank=plan.last_rank,
            estimate=plan.estimate,
            max_cost=max_cost,
        )

    async def _counted(self, selection: Selection, expected: int, max_jobs: int | None, max_cost: float | None) -> Run:
        """Return a new run of a selection, with the number of jobs that the caller expects."""
        estimate = await self.caps.estimate(selection, expected)
        return Run(
            id=new_id(),
            selection=selection,
            expected=expected,
            most=self.caps.job_limit(expected, estimate, max_jobs, max_cost),
            recipe_versions=self.finder.recipe_versions(selection),
            estimate=estimate,
            max_cost=max_cost,
        )

    async def get(self, run_id: str) -> Run:
        """Return a run with its progress, which is exact when the run is done. Raises RequestError if there is none."""
        return await self.records.get(run_id)

    async def list_runs(self, limit: int = 20, cursor: str = "") -> tuple[list[Run], str]:
        """Return a page of runs, newest first, and the cursor of the next page; it is empty on the last page."""
        return await self.records.page(limit, cursor)

    async def find(self, run_id: str) -> Run | None:
        """Return a run, or None if there is none. Sends its first message again if that may have been lost."""
        run = await self.records.find(run_id)
        if run and not (run.over or run.listed or run.pages):
            await self.queue.send(RunWork(run=run.id))
        return run

    async def cancel(self, run_id: str) -> Run:
        """Cancel a run: running jobs end, no further job starts. Raises StateConflict if the run is over already."""

        def cancelled(run: Run) -> Run:
            if run.over:
                raise StateConflict(f"run {run.id} is {run.state} already", kind=f"run_{run.state}")
            return run.model_copy(update={"state": "cancelled", "finished": now(), "why": "cancelled"})

        await self.records.update(run_id, cancelled)
        return await self.get(run_id)

    async def stop(self, run_id: str, reason: str) -> None:
        """Stop a run that cannot continue, unless it is over. Raises RequestError if there is none."""

        def stopped(run: Run) -> Run:
            return run if run.over else run.model_copy(update={"state": "stopped", "finished": now(), "why": reason})

        log.error("run %s stops: %s", run_id, reason, extra={"event": "run.stopped"})
        await self.records.update(run_id, stopped)

    async def pause_for_cost(self, run_id: str, reason: str) -> None:
        """Pause a run that would pass a cap on the cost, unless it is over. It never expires: a user resumes it."""
        paused = {"state": "paused", "paused": "cost", "why": reason, "finished": now()}
        run = await self.records.update(run_id, lambda run: run if run.over else run.model_copy(update=paused))
        if run.finished == paused["finished"]:
            log.error("run %s pauses: %s", run_id, reason, extra={"event": "run.cost_paused"})

    async def stop_on_version_mismatch(self, run: Run) -> bool:
        """Stop a run whose recipe versions differ from those of this process; return True if it stops.

        A scheduled run of an older deployment continues with the versions of this process: nobody has planned it, and
        each night makes progress. Raises OutdatedDeployment if the versions differ and a newer deployment has the run.
        """
        mismatch = self.finder.version_mismatch(run.selection, run.recipe_versions, run.deployment)
        own = self.finder.ledger.deployment
        if mismatch and run.scheduled and is_older(run.deployment, own):
            versions = {"recipe_versions": self.finder.recipe_versions(run.selection), "deployment": own}
            log.info(
                "scheduled run %s continues with the recipe versions of the deployment %d",
                run.id,
                own,
                extra={"event": "run.versions_adopted"},
            )
            await self.records.update(
                run.id, lambda stored: stored.model_copy(update=versions if is_older(stored.deployment, own) else {})
            )
            return False
        if mismatch:
            await self.stop(run.id, f"{mismatch}, and resume the run")
        return bool(mismatch)

    async def resume(self, run_id: str, *, max_jobs: int | None = None, max_cost: float | None = None) -> Run:
        """Resume a run: send its messages again, in case they were lost. Jobs that have ended are not repeated.

        A message of the run queue does that, since it may take minutes. A run that has left jobs at its cap continues
        with a higher cap, unless it is a scheduled run. The active recipe versions of this process are used.

        Args:
            run_id: The run.
            max_jobs: A new cap on the number of jobs, for a run that has left jobs at its cap.
            max_cost: A new cap on the cost, up to PIPELINE_RUN_MAX_COST. Without one, that of the start holds.

        Raises:
            StateConflict: The run is done.
            RequestError: There is no such run, or a cap is exceeded.
            OutdatedDeployment: A newer deployment, with other recipe versions, has the run.
        """
        limit = self.settings.run_max_jobs

        def working(run: Run) -> Run:
            continues = run.more_due and not run.scheduled and max_jobs is not None and max_jobs > run.found
            if run.state == "done" and not continues:
                more = f", and more is due: {'make a plan' if run.scheduled else 'give a higher cap, or make a plan'}"
                raise StateConflict(f"run {run.id} is done already{more if run.more_due else ''}", kind="run_done")
            if max_jobs is not None and max_jobs > limit:
                raise RequestError(
                    f"a run processes at most {limit:,} jobs ({variable('run_max_jobs')})", kind="over_cap"
                )
            self.finder.version_mismatch(run.selection, run.recipe_versions, run.deployment)
            changes: dict[str, Any] = {"state": "working", "finished": None, "why": "", "paused": ""}
            changes |= {"most": max_jobs or run.most, "max_cost": run.max_cost if max_cost is None else max_cost}
            if continues:
                changes |= {"listed": False, "more_due": False}
            versions = self.finder.recipe_versions(run.selection)
            deployment = max(run.deployment, self.finder.ledger.deployment)
            return run.model_copy(update={**changes, "recipe_versions": versions, "deployment": deployment})

        await self.pauses.ensure_version()
        before = await self.get(run_id)
        working(before)  # which raises the errors that have nothing to do with the cost
        if before.over or max_jobs is not None or max_cost is not None:
            counter = self.hours.of_run(run_id)
            hours = await counter.read()
            allowed = await self.caps.hours_to_resume(before, hours, max_jobs or before.most, max_cost)
            await counter.update(lambda now: replace(now, limit=allowed.limit, planned=allowed.planned))
        run = await self.records.update(run_id, working)
        await self.queue.send(RunWork(run=run.id, resend=True))
        log.info("run %s resumes: its messages are sent again", run.id, extra={"event": "run.resumed"})
        return await self.get(run_id)

    async def resend(self, work: RunWork) -> None:
        """Send some messages of a resumed run again; then queue a message for the rest."""
        document = await self.store.get("run", key_of(work.run))
        run = Run.read(document.content) if document else None
        if run is None or run.over:
            return
        count, after = await self.send_again(run, work.after, MAX_RESENT_BATCHES)
        log.info("run %s: %d batches are queued again", run.id, count, extra={"event": "run.resumed"})
        if after:
            await self.queue.send(RunWork(run=run.id, resend=True, after=after))

    async def send_again(self, run: Run, after: str = "", limit: int | None = None) -> tuple[int, str]:
        """Send the messages of a run's unfinished batches again, and that of its listing, from a position on.

        Args:
            run: The run.
            after: The position at which an earlier call stopped.
            limit: The maximum number of messages.

        Returns:
            The number of batches, and the position to continue from; empty at the end.
        """
        if not run.listed and not after:
            await self.queue.send(RunWork(run=run.id))
        unfinished: list[RunWork] = []
        async for name, outcomes in self.store.outcomes(run.id, after or run.settled_to):
            if UNFINISHED in outcomes:
                unfinished.append(RunWork(run=run.id, batch=name))
            if len(unfinished) == limit:
                break
        await self.send_all(unfinished)
        return len(unfinished), unfinished[-1].batch if limit and len(unfinished) == limit else ""

    async def send_all(self, messages: list[RunWork]) -> None:
        """Queue messages, 16 at a time."""
        for start in range(0, len(messages), MAX_CONCURRENT_SENDS):
            chunk = messages[start : start + MAX_CONCURRENT_SENDS]
            await gather_or_cancel(*(self.queue.send(message) for message in chunk))

    async def begin(self, run: Run, reserve_id: Callable[[str], Awaitable[str]] | None = None) -> Run:
        """Store a new run and send its first message (see `start`)."""
        await self.pauses.ensure_version()
        run_id = await reserve_id(run.id) if reserve_id else run.id
        run = run.model_copy(update={"id": run_id, "deployment": run.deployment or self.finder.ledger.deployment})
        await self.hours.of_run(run.id).create(self.caps.hours(run.estimate, run.max_cost))
        # The document is written first: workers drop a message about an unknown run.
        if await self.store.create("run", key_of(run.id), run.model_dump(mode="json")) is None:
            existing = await self.find(run.id) if reserve_id else None
            if existing is None:
                raise AssertionError("two runs have one id")
            return existing
        await self.queue.send(RunWork(run=run.id))
        log.info(
            "run %s starts: %s jobs expected, at most %d",
            run.id,
            run.expected,
            run.most,
            extra={"event": "run.started"},
        )
        return run
