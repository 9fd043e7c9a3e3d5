"""Work on runs: execute the jobs of a batch concurrently, and write their outcomes once."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

from pipeline.errors import (
    CostCapReached,
    JobPaused,
    JobSuperseded,
    OutdatedDeployment,
    PermanentError,
    PipelineError,
    PoolFull,
    RecipeError,
    SourceChanged,
    TransientError,
    Unreadable,
)
from pipeline.jobs.admission import Admission, paused_error
from pipeline.jobs.dispatch import internal_error
from pipeline.jobs.execution import JobExecutor
from pipeline.jobs.isolation import TENANT_JOBS_AT_ONCE
from pipeline.jobs.outcomes import OutcomeRecorder
from pipeline.jobs.put_back import UnreadableMessages, leave_to_newer
from pipeline.jobs.rendering import SchedulingPolicy
from pipeline.jobs.retry_policy import Retry, deferral_delay, log_retry, pause, plan_retry, retry_delay
from pipeline.recipes import Recipes
from pipeline.runs.fan_out import FanOut
from pipeline.runs.lifecycle import RunController
from pipeline.runs.model import Run, key_of
from pipeline.runs.planning import RunPlanner
from pipeline.runs.tenants import tenant_of
from pipeline.settings import Settings
from pipeline.storage import (
    UNFINISHED,
    Batch,
    ClaimOptions,
    Entry,
    Item,
    JobKey,
    JobQueue,
    Message,
    Outcome,
    RunStore,
    RunWork,
    Version,
)
from pipeline.telemetry import job_log_context, logger

log = logger(__name__)
# A process caches for this long that a run is working: a cancelled run must stop within a minute.
RUN_STATE_CACHE_SECONDS = 20.0
# A run waits this many times for a source that keeps changing, for about ten minutes; then the next run takes it.
MAX_CHANGES = 5


@dataclass(frozen=True)
class ItemResult:
    """Result of one attempt at a job of a run: an outcome, or none if another attempt follows, delayed by `retry`.

    `cost` is the reason if the job would pass a cap on the cost, so that the run pauses.
    """

    outcome: Outcome | None = None
    retry: Retry[RunWork] | None = None
    cost: str = ""


@dataclass(frozen=True)
class ItemExecutor:
    """Execute single jobs of runs. `slots` bounds the jobs of runs that this process executes at once."""

    settings: Settings
    recipes: Recipes
    executor: JobExecutor
    outcomes: OutcomeRecorder
    slots: asyncio.Semaphore
    admission: Admission

    def tenant(self, item: Item) -> str:
        """Return the label of the sessions of an item's tenant; empty if its recipe separates no tenants."""
        try:
            return tenant_of(self.recipes.get(item.recipe), item.name)
        except RecipeError:
            return ""

    async def execute(self, work: RunWork, item: Item) -> ItemResult:
        """Execute a job of a batch once. Errors that can be recorded are part of the result."""
        container, run, started = self.settings.input_container, work.run, time.monotonic()
        if item.missed and (paused := (await self.admission.pauses.current()).get("uploads")):
            # Its event or message waits for the end of the pause, or else a later scheduled run finds the job again.
            return _skipped(paused_error("uploads", paused))
        try:
            recipe = self.recipes.get(item.recipe)
            async with self.admission.admitted("runs", f"{container}/{item.name}"):
                entry = await self.executor.execute(
                    container,
                    item.name,
                    recipe,
                    policy=SchedulingPolicy("run", fairness_key=run),
                    history=work,
                    options=ClaimOptions(
                        again=not item.compare,
                        seen=item.generation,
                        run=run,
                        known=_known_row(container, item),
                        expected=item.generation > 0,
                    ),
                )
            return self._result(entry, work)
        except JobSuperseded as error:
            return await self._superseded(work, item, error)
        except (RecipeError, OutdatedDeployment) as error:
            return _skipped(error)
        except PermanentError as error:
            return await self.record_failure(work, item, error)
        except JobPaused as error:
            return _paused(work, error)
        except PoolFull as error:
            return ItemResult(retry=Retry(work, deferral_delay(self.settings, error)))
        except SourceChanged as error:
            return self._retry_changing(work, error)
        except TransientError as error:
            return await self._retry_or_fail(work, item, error, time.monotonic() - started)
        except Exception as error:  # the boundary: a bug must not lose a job
            log.exception("internal error: the job is retried", extra={"event": "job.crashed"})
            return await self._retry_or_fail(work, item, internal_error(error), time.monotonic() - started)

    async def record_failure(self, work: RunWork, item: Item, error: PermanentError | TransientError) -> ItemResult:
        """Record that a job of a batch cannot be done, or has used up its attempts (see OutcomeRecorder)."""
        run = work.run
        message = Message(
            recipe=item.recipe,
            container=self.settings.input_container,
            name=item.name,
            attempt=work.attempt,
            service_seconds=work.service_seconds,
            again=not item.compare,
            seen=item.generation,
        )
        try:
            return self._result(await self.outcomes.record_failure(message, error, run=run), work)
        except JobSuperseded as superseded:
            return await self._superseded(work, item, superseded)
        except SourceChanged as changed:
            return self._retry_changing(work, changed)
        except (PermanentError, OutdatedDeployment) as unrecordable:
            return _skipped(unrecordable)

    async def _retry_or_fail(self, work: RunWork, item: Item, error: TransientError, elapsed: float) -> ItemResult:
        """Leave the job for another attempt; after the last one, record the failure if that is possible now."""
        retry = plan_retry(self.settings, work, error, elapsed)
        if retry:
            log_retry(retry, error)
            return ItemResult(retry=retry)
        try:
            return await self.record_failure(work, item, error)
        except TransientError as unrecorded:
            log.warning("the failure cannot be recorded now: %s", unrecorded, extra={"event": "job.failure_unrecorded"})
            return ItemResult(retry=Retry(work, pause(self.settings, work.service_seconds)))

    def _retry_changing(self, work: RunWork, error: SourceChanged) -> ItemResult:
        """Leave the job for another attempt, with growing pauses; after the last one, leave it to the next run.

        A source that is written all the time must not keep its run working for good.
        """
        changes = work.changes + 1
        if changes > MAX_CHANGES:
            return _skipped(error)
        log.info("deferred, the source keeps changing: %s", error, extra={"event": "job.source_changing"})
        return ItemResult(
            retry=Retry(work.model_copy(update={"changes": changes}), retry_delay(self.settings, changes))
        )

    async def _superseded(self, work: RunWork, item: Item, error: JobSuperseded) -> ItemResult:
        log.info("superseded: %s", error, extra={"event": "job.superseded", "kind": error.kind})
        key = JobKey.of(item.recipe, self.settings.input_container, item.name)
        return self._result(await self.executor.ledger.get(key), work)

    def _result(self, entry: Entry | None, work: RunWork) -> ItemResult:
        """Return the result that a job's row means for the run: jobs that another caller has ended count as skipped."""
        if entry is None:
            return ItemResult("skipped")
        if entry.is_running:
            return ItemResult(retry=Retry(work, retry_delay(self.settings, 0)))
        outcomes: dict[str, Outcome] = {"done": "done", "failed": "failed"}
        return ItemResult(outcomes.get(entry.state, "skipped") if entry.run == work.run else "skipped")


@dataclass(frozen=True)
class RunWorker:
    """Process the messages of runs: find jobs, and execute batches with bounded concurrency."""

    settings: Settings
    store: RunStore
    queue: JobQueue
    controller: RunController
    fan_out: FanOut
    items: ItemExecutor
    admission: Admission
    planner: RunPlanner
    fail_message: Callable[[bytes, PipelineError], Awaitable[bool]]
    """Records the failures of the jobs that an unreadable message names; returns False if it names none."""

    async def handle_message(self, body: bytes) -> None:
        """Process a message of the run queue. A message that this version cannot read is put back with a pause.

        So is one that a fault of storage interrupts: the host's redeliveries would use it up within minutes.
        """
        try:
            await self._process_or_retry(RunWork.parse(body))
        except Unreadable as error:  # the message, or the stored run
            unreadable = UnreadableMessages(self.queue, self.items.outcomes.ledger, self.settings.give_up_after)
            await unreadable.put_back(body, error, partial(self.fail_message, body, error))

    async def _process_or_retry(self, work: RunWork) -> None:
        started = time.monotonic()
        try:
            await self._process(work)
        except TransientError as error:
            elapsed = time.monotonic() - started
            retry = plan_retry(self.settings, work, error, elapsed)
            if retry is None and work.batch and error.service:
                # Its jobs cannot even be recorded. As a dead letter, they would be failures that no run retries.
                delay = pause(self.settings, work.service_seconds)
                lost = round(work.service_seconds + elapsed + delay, 3)
                retry = Retry(work.model_copy(update={"service_seconds": lost}), delay)
            if retry is None:
                raise
            log.warning(
                "the message of run %s is retried in %.0f s: %s",
                work.run,
                retry.delay,
                error,
                extra={"event": "run.message_requeued", "kind": error.kind},
            )
            await self.queue.send(retry.message, retry.delay)

    async def _process(self, work: RunWork) -> None:
        refusal = await self.admission.refusal("runs")
        if isinstance(refusal, CostCapReached):
            await self.controller.pause_for_cost(work.run, refusal.message)
            return
        if isinstance(refusal, JobPaused):
            log.info("a message of run %s waits: %s", work.run, refusal, extra={"event": "run.paused"})
            await self.queue.send(work, refusal.retry_after)
            return
        # A batch that is given up goes on: each of its jobs becomes a failure with the fault of the service.
        if refusal and not (work.batch and work.service_seconds >= self.settings.give_up_after):
            raise refusal
        try:
            if work.plan:
                await self.planner.help(work.run)
            elif work.resend:
                await self.controller.resend(work)
            elif work.batch:
                await self.execute_batch(work)
            else:
                await self.fan_out.find_jobs(work.run)
        except OutdatedDeployment as error:
            if left := leave_to_newer(work, error, self.settings.give_up_after):
                await self.queue.send(*left)
            else:
                await self.controller.stop(work.run, f"{error.message}; then resume the run")

    async def execute_batch(self, work: RunWork) -> None:
        """Execute the unfinished jobs of a batch; queue the batch again if some remain unfinished."""
        run = await self._working_run(work.run)
        if run is None:
            log.info("run %s is over: batch %s is skipped", work.run, work.batch, extra={"event": "run.batch_skipped"})
            return
        if await self.controller.stop_on_version_mismatch(run):
            return
        batch = await self._batch(work)
        if batch is None or not batch.unfinished:
            return
        ends = await self._execute_items(batch, work)
        results = {index: end for index, end in ends.items() if isinstance(end, ItemResult)}
        outcomes = {index: result.outcome for index, result in results.items() if result.outcome}
        batch = await self.store.settle(batch, outcomes)
        for end in ends.values():
            if isinstance(end, BaseException):
                raise end  # the host redelivers the message for the rest
        if reason := next((result.cost for result in results.values() if result.cost), ""):
            await self.controller.pause_for_cost(run.id, reason)
            return
        if batch.unfinished and await self._working_run(work.run):
            retries = [result.retry for result in results.values() if result.retry]
            await self.queue.send(_following(work, retries), max((retry.delay for retry in retries), default=0))

    async def _working_run(self, run_id: str) -> Run | None:
        """Return a run that is working; None if it is over or unknown.

        A cached working state is trusted for 20 s. A cached end is not: a user may have resumed the run.
        """
        for seconds in (RUN_STATE_CACHE_SECONDS, 0):
            document = await self.store.recent("run", key_of(run_id), seconds)
            run = Run.under_key(key_of(run_id), document.content) if document else None
            if run and not run.over:
                return run
        return None

    async def _batch(self, work: RunWork) -> Batch | None:
        """Return the batch: from the message if that includes its jobs, otherwise from its row."""
        if work.items and work.etag:
            return Batch(work.run, work.batch, tuple(work.items), UNFINISHED * len(work.items), work.etag)
        return await self.store.batch(work.run, work.batch)

    async def _execute_items(self, batch: Batch, work: RunWork) -> dict[int, ItemResult | BaseException]:
        """Execute the unfinished jobs of a batch; return each one's result, or the error that left it unrecorded."""
        deadline = time.monotonic() + self.settings.run_batch_timeout
        # The jobs of a tenant are for one session, and take no more slots than that session can use.
        tenants: dict[str, asyncio.Semaphore] = {}

        async def execute(index: int) -> ItemResult:
            tenant = self.items.tenant(batch.items[index])
            at_once = tenants.setdefault(tenant, asyncio.Semaphore(TENANT_JOBS_AT_ONCE)) if tenant else nullcontext()
            async with at_once, self.items.slots:
                if time.monotonic() > deadline or await self._working_run(batch.run) is None:
                    return ItemResult()
                item = batch.items[index]
                with job_log_context(JobKey.of(item.recipe, self.settings.input_container, item.name).id):
                    return await self.items.execute(work, item)

        unfinished = batch.unfinished
        ends = await asyncio.gather(*map(execute, unfinished), return_exceptions=True)
        return dict(zip(unfinished, ends, strict=True))


def _following(work: RunWork, retries: list[Retry[RunWork]]) -> RunWork:
    """Return the batch's next message. Its jobs share the attempts: the job that has used up most decides."""
    messages = [work, *(retry.message for retry in retries)]
    return RunWork(
        run=work.run,
        batch=work.batch,
        attempt=max(message.attempt for message in messages),
        service_seconds=max(message.service_seconds for message in messages),
        losses=max(message.losses for message in messages),
        changes=max(message.changes for message in messages),
    )


def _paused(work: RunWork, error: JobPaused) -> ItemResult:
    if isinstance(error, CostCapReached):
        return ItemResult(cost=error.message)
    return ItemResult(retry=Retry(work, error.retry_after))


def _skipped(error: PermanentError | OutdatedDeployment | SourceChanged | JobPaused) -> ItemResult:
    log.warning("the run skips this job: %s", error, extra={"event": "run.job_skipped", "kind": error.kind})
    return ItemResult("skipped")


def _known_row(container: str, item: Item) -> Entry | None:
    """Return the row as it was when the job was found, with the fields that a claim needs; None without a row."""
    if not item.etag:
        return None
    return Entry(
        JobKey.of(item.recipe, container, item.name),
        container,
        item.name,
        state="done",
        version=Version("", ""),
        generation=item.generation,
        listed=item.listed,
        outputs=item.outputs,
        row_etag=item.etag,
    )
