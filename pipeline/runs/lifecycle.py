"""Control runs from start to end: start, look up, cancel, resume, and start the scheduled run."""

import base64
from bisect import bisect_right
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pipeline.concurrency import gather_or_cancel
from pipeline.errors import RequestError, StateConflict
from pipeline.jobs.pauses import Pauses
from pipeline.runs.estimates import Estimate, Estimator
from pipeline.runs.model import Progress, Run, is_id, key_of, now
from pipeline.runs.planning import RunPlanner, new_id
from pipeline.runs.rounds import Night
from pipeline.runs.schedule import load_rounds
from pipeline.runs.selection import JobFinder, Selection
from pipeline.settings import Settings, variable
from pipeline.storage import UNFINISHED, Document, JobQueue, RunStore, RunWork
from pipeline.telemetry import logger

log = logger(__name__)
MAX_CONCURRENT_SENDS = 16
# The key of the schedule's document. Timers of several hosts compete for it, and one of them starts the run.
SCHEDULE_KEY = "run"
# Timers that fire within this time after a start are duplicates of it.
DUPLICATE_TIMER_SECONDS = 60
# The timer resumes a scheduled run that has been working for longer than this: its messages may have been lost.
STALLED_RUN_SECONDS = 3600


@dataclass(frozen=True)
class RunController:
    """Start, look up, cancel and resume runs."""

    settings: Settings
    store: RunStore
    queue: JobQueue
    finder: JobFinder
    estimator: Estimator
    planner: RunPlanner
    pauses: Pauses

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
            plan = await self.planner.get(plan_id)
            if not plan.complete:
                raise StateConflict(
                    f"plan {plan.id} is not complete: continue planning with its marker first", kind="plan_incomplete"
                )
            if selection not in (None, plan.selection):
                raise RequestError(
                    "the selection differs from the plan's: omit it, or make a new plan", kind="other_selection"
                )
            limit = self._job_limit(plan.jobs, plan.estimate, max_jobs, max_cost)
            run = Run(
                id=new_id(),
                selection=plan.selection,
                plan=plan.id,
                expected=plan.jobs,
                most=limit,
                recipe_versions=plan.recipe_versions,
                deployment=plan.deployment,
                last_rank=plan.last_rank,
            )
            return await self._start(run, reserve_id)
        if expected_count is None or selection is None or selection.sample:
            raise RequestError(
                "make a plan and start it by its id, or give a selection and the number of jobs that you expect "
                "(a sample always needs a plan)",
                kind="no_plan",
            )
        estimate = await self._estimate(selection, expected_count)
        limit = self._job_limit(expected_count, estimate, max_jobs, max_cost)
        versions = self.finder.recipe_versions(selection)
        run = Run(id=new_id(), selection=selection, expected=expected_count, most=limit, recipe_versions=versions)
        return await self._start(run, reserve_id)

    async def find(self, run_id: str) -> Run | None:
        """Return a run, or None if there is none. Sends its first message again if that may have been lost."""
        if not await self._exists(run_id):
            return None
        run = await self.get(run_id)
        if not (run.over or run.listed or run.pages):
            await self.queue.send(RunWork(run=run.id))
        return run

    async def start_scheduled(self) -> Run | None:
        """Start the scheduled run; None if runs are paused, or its last run has just started or is still working.

        A scheduled run that has been working for over an hour is resumed: a stalled run would block all later ones.
        """
        await self.pauses.ensure_version()
        if "runs" in await self.pauses.current():
            # Resuming a stalled run each night would multiply its messages, which wait in the queue.
            log.warning(
                "no scheduled run is started: runs are paused; `image-pipeline resume runs`, then `image-pipeline "
                "reprocess` does its jobs at once",
                extra={"event": "run.schedule_paused"},
            )
            return None
        before = await self.store.get("schedule", SCHEDULE_KEY)
        if before and before.content and await self._is_started(before):
            return None
        run_id = new_id()
        content = {"run": run_id, "at": now().timestamp()}
        written = await (
            self.store.replace("schedule", SCHEDULE_KEY, before, content)
            if before
            else self.store.create("schedule", SCHEDULE_KEY, content)
        )
        if written is None:
            return None
        selection = Selection(prefix=self.settings.schedule_prefix, reasons=self.settings.schedule_reasons)
        limit, cap = await self._scheduled_limit(selection)
        number, rounds = await load_rounds(self.store, selection.prefix)
        run = Run(
            id=run_id,
            selection=selection,
            scheduled=True,
            most=limit,
            cap=cap,
            night=Night.begin(number, limit, selection.reasons, rounds),
            recipe_versions=self.finder.recipe_versions(selection),
        )
        return await self._start(run)

    async def _scheduled_limit(self, selection: Selection) -> tuple[int, str]:
        """Return the cap of a scheduled run, and the setting from which it comes.

        The cap on the cost lowers the number of jobs, but not below one: each night makes progress.
        """
        settings = self.settings
        caps = {name: getattr(settings, name) for name in ("schedule_max_jobs", "run_max_jobs")}
        name = min(caps, key=caps.__getitem__)
        recipes, measured = self.finder.selected_recipes(selection), await self.estimator.measured()

        def cost(jobs: int) -> float:
            return self.estimator.of_recipes(recipes, jobs, measured).total

        affordable = bisect_right(range(1, caps[name] + 1), settings.run_max_cost, key=cost)
        if affordable == caps[name]:
            return caps[name], variable(name)
        limit = max(1, affordable)
        log.warning(
            "the scheduled run takes %d jobs instead of %d, because of %s=%g",
            limit,
            caps[name],
            variable("run_max_cost"),
            settings.run_max_cost,
            extra={"event": "run.cost_capped"},
        )
        return limit, variable("run_max_cost")

    async def _is_started(self, before: Document) -> bool:
        """Return True if another timer has just started the scheduled run, or the last one is still working."""
        last, age = before.content, now().timestamp() - before.content["at"]
        recent = age < DUPLICATE_TIMER_SECONDS
        run = await self.get(last["run"]) if not recent and await self._exists(last["run"]) else None
        if not recent and (run is None or run.state != "working"):
            return False
        log.info(
            "no scheduled run is started: run %s is working, or has just started",
            last["run"],
            extra={"event": "run.schedule_skipped"},
        )
        if run and (age >= STALLED_RUN_SECONDS or not (run.pages or run.listed)):
            content = {**last, "at": now().timestamp()}
            if await self.store.replace("schedule", SCHEDULE_KEY, before, content):
                await self.resume(run.id)
        return True

    async def get(self, run_id: str) -> Run:
        """Return a run with its progress, which is exact when the run is done. Raises RequestError if there is none."""
        document = await self._stored(run_id)
        run = Run.stored(key_of(run_id), document.content)
        if run.state == "done" or run.unreadable:
            return run
        counted = await self._with_progress(run)
        if counted.state == "working" and counted.listed and counted.progress.left == 0:
            counted = counted.model_copy(update={"state": "done", "finished": now()})
        if counted.settled_to != run.settled_to or counted.state != run.state:
            # Cache the counts; on a conflict, the other writer's counts stand.
            await self.store.replace("run", key_of(run.id), document, counted.model_dump(mode="json"))
        return counted

    async def list_runs(self, limit: int = 20, cursor: str = "") -> tuple[list[Run], str]:
        """Return a page of runs, newest first, and the cursor of the next page; it is empty on the last page."""
        rows = await self.store.page("run", limit + 1, _key(cursor))
        runs = [Run.stored(key, document.content) for key, document in rows[:limit]]
        runs = [run if run.state == "done" or run.unreadable else await self.get(run.id) for run in runs]
        following = base64.urlsafe_b64encode(rows[limit - 1][0].encode()).decode() if len(rows) > limit else ""
        return runs, following

    async def cancel(self, run_id: str) -> Run:
        """Cancel a run: running jobs end, no further job starts. Raises StateConflict if the run is over already."""

        def cancelled(run: Run) -> Run:
            if run.over:
                raise StateConflict(f"run {run.id} is {run.state} already", kind=f"run_{run.state}")
            return run.model_copy(update={"state": "cancelled", "finished": now(), "why": "cancelled"})

        await self.update(run_id, cancelled)
        return await self.get(run_id)

    async def stop(self, run_id: str, reason: str) -> None:
        """Stop a run that cannot continue, unless it is over. Raises RequestError if there is none."""

        def stopped(run: Run) -> Run:
            return run if run.over else run.model_copy(update={"state": "stopped", "finished": now(), "why": reason})

        log.error("run %s stops: %s", run_id, reason, extra={"event": "run.stopped"})
        await self.update(run_id, stopped)

    async def stop_on_version_mismatch(self, run: Run) -> bool:
        """Stop a run whose recipe versions differ from those of this process; return True if they differ.

        Raises OutdatedDeployment if they differ and a newer deployment has the run.
        """
        if mismatch := self.finder.version_mismatch(run.selection, run.recipe_versions, run.deployment):
            await self.stop(run.id, f"{mismatch}, and resume the run")
        return bool(mismatch)

    async def resume(self, run_id: str, *, max_jobs: int | None = None) -> Run:
        """Resume a run: send its messages again, in case they were lost. Jobs that have ended are not repeated.

        A run that has left jobs at its cap continues with a higher cap, unless it is a scheduled run. The active recipe
        versions of this process are used.

        Args:
            run_id: The run.
            max_jobs: A new cap on the number of jobs, for a run that has left jobs at its cap.

        Raises:
            StateConflict: The run is done.
            RequestError: There is no such run, or the cap exceeds PIPELINE_RUN_MAX_JOBS.
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
            changes: dict[str, Any] = {"state": "working", "finished": None, "why": "", "most": max_jobs or run.most}
            if continues:
                changes |= {"listed": False, "more_due": False}
            versions = self.finder.recipe_versions(run.selection)
            deployment = max(run.deployment, self.finder.ledger.deployment)
            return run.model_copy(update={**changes, "recipe_versions": versions, "deployment": deployment})

        await self.pauses.ensure_version()
        run = await self.update(run_id, working)
        count, _ = await self.send_again(run)
        log.info("run %s resumes: %d batches are queued again", run.id, count, extra={"event": "run.resumed"})
        return await self.get(run_id)

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

    async def update(self, run_id: str, change: Callable[[Run], Run]) -> Run:
        """Change a run by optimistic concurrency: repeat until no other writer interferes.

        Raises RequestError if there is no such run, and every error of `change`.
        """
        while True:
            document = await self._stored(run_id)
            changed = change(Run.read(document.content))
            if await self.store.replace("run", key_of(run_id), document, changed.model_dump(mode="json")):
                return changed

    async def send_all(self, messages: list[RunWork]) -> None:
        """Queue messages, 16 at a time."""
        for start in range(0, len(messages), MAX_CONCURRENT_SENDS):
            chunk = messages[start : start + MAX_CONCURRENT_SENDS]
            await gather_or_cancel(*(self.queue.send(message) for message in chunk))

    async def _start(self, run: Run, reserve_id: Callable[[str], Awaitable[str]] | None = None) -> Run:
        await self.pauses.ensure_version()
        run_id = await reserve_id(run.id) if reserve_id else run.id
        run = run.model_copy(update={"id": run_id, "deployment": run.deployment or self.finder.ledger.deployment})
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

    def _job_limit(self, expected: int, estimate: Estimate, max_jobs: int | None, max_cost: float | None) -> int:
        """Return the cap on the jobs of a run. Raises RequestError if the expectation exceeds a cap."""
        settings = self.settings
        jobs = min(settings.run_max_jobs, settings.run_max_jobs if max_jobs is None else max_jobs)
        cost = min(settings.run_max_cost, settings.run_max_cost if max_cost is None else max_cost)
        if expected > jobs:
            raise RequestError(
                f"{expected:,} jobs exceed the cap of {jobs:,}; narrow the selection, or raise "
                f"{variable('run_max_jobs')} (and the cap of this request) on purpose",
                kind="over_cap",
            )
        if estimate.total > cost:
            raise RequestError(
                f"{expected:,} jobs cost about {estimate.total:.2f}, more than the cap of {cost:.2f}; narrow the "
                f"selection, or raise {variable('run_max_cost')} (and the cap of this request) on purpose",
                kind="over_cap",
            )
        return min(jobs, int(expected * (1 + settings.run_overrun_tolerance)))

    async def _estimate(self, selection: Selection, jobs: int) -> Estimate:
        return self.estimator.of_recipes(self.finder.selected_recipes(selection), jobs, await self.estimator.measured())

    async def _with_progress(self, run: Run) -> Run:
        """Count the outcomes of all batches; batches before the first unfinished one are never read again."""
        settled, settled_to, rest = Counter[str](), run.settled_to, Counter[str]()
        async for name, outcomes in self.store.outcomes(run.id, run.settled_to):
            if not rest and UNFINISHED not in outcomes:
                settled.update(outcomes)
                settled_to = name
            else:
                rest.update(outcomes)
        total = run.settled.plus(Progress.of(settled))
        progress = total.plus(Progress.of(rest))
        return run.model_copy(update={"settled": total, "settled_to": settled_to, "progress": progress})

    async def _exists(self, run_id: str) -> bool:
        return await self.store.get("run", key_of(run_id)) is not None

    async def _stored(self, run_id: str) -> Document:
        document = await self.store.get("run", key_of(run_id)) if is_id(run_id) else None
        if document is None:
            raise RequestError(f"there is no run {run_id[:60]!r}", kind="unknown_run")
        return document


def _key(cursor: str) -> str:
    try:
        return base64.urlsafe_b64decode(cursor).decode()
    except ValueError:
        raise RequestError("invalid cursor: take it from the previous page of runs", kind="invalid_cursor") from None
