"""Recovery of lost messages: find out which queues have lost theirs, and send the messages of jobs and runs again."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from pipeline.errors import PipelineError
from pipeline.jobs.lost_messages import JobMessageRecovery
from pipeline.runs.lifecycle import RunController
from pipeline.runs.model import Run, key_of, now
from pipeline.runs.scheduled_start import RunSchedule
from pipeline.storage import JobQueue, QueueIncarnations, QueueLoss, RunStore
from pipeline.telemetry import logger

log = logger(__name__)
# The Functions host adds the id of the app. Its messages are about uploads that have no row yet.
BLOB_TRIGGER_QUEUE_PREFIX = "azure-webjobs-blobtrigger-"
PAGE_SIZE = 200
# One pass sends at most this many messages of runs; the next pass continues.
MAX_BATCHES = 20_000
# A run is stored shortly before its first message is sent.
GRACE = timedelta(minutes=5)
FINISHED = "~"
# In the progress of the job queue's loss: the messages of jobs with rows are sent again.
RESENT = "resent"


async def waits_in_run(store: RunStore, run_id: str) -> bool:
    """Return True if a run exists and is not done: its batches, or a user's `resume`, take care of its jobs.

    Nobody resumes a scheduled run that has stopped or is paused, for example because a deployment changed the recipes.
    """
    document = await store.get("run", key_of(run_id))
    if document is None or document.content.get("state") == "done":
        return False
    return not (document.content.get("state") in ("stopped", "paused") and document.content.get("scheduled"))


@dataclass(frozen=True)
class LostMessageRecovery:
    """Look after the queues of jobs, of runs and of the blob trigger, and after a missed scheduled run.

    The parts do not depend on each other.
    """

    incarnations: QueueIncarnations
    jobs: JobMessageRecovery
    store: RunStore
    runs: RunController
    schedule: RunSchedule
    run_queue: JobQueue
    run_dead_letters: JobQueue

    async def recover(self) -> None:
        """Find and send lost messages, for a bounded time. An error of one queue does not stop the others."""
        parts: list[Callable[[], Awaitable[None]]] = [
            self._recover_jobs,
            self._recover_runs,
            self._recover_uploads,
            self._start_missed,
        ]
        for part in parts:
            try:
                await part()
            except Exception as error:
                log.warning(
                    "the messages of a queue cannot be recovered now: %s",
                    error,
                    exc_info=not isinstance(error, PipelineError),
                    extra={"event": "queue.recovery_failed", "kind": getattr(error, "kind", "internal")},
                )

    async def _recover_jobs(self) -> None:
        loss = await self.incarnations.check(self.jobs.queue.name, create=True)
        if loss is None or RESENT in loss.progress:
            await self.jobs.recover_missing()
            return
        _, is_complete = await self.jobs.recover_all(loss.at)
        if is_complete:
            await self.incarnations.save(replace(loss, progress={RESENT: "done"}))

    async def _recover_runs(self) -> None:
        loss = await self.incarnations.check(self.run_queue.name, create=True)
        if loss is None and await self._is_empty() and [run async for run in self._working() if _is_settled(run)]:
            # Every batch that waits or is being executed has a message in the queue.
            loss = await self.incarnations.record(self.run_queue.name)
        if loss:
            await self._send_runs_again(loss)

    async def _send_runs_again(self, loss: QueueLoss) -> None:
        """Send the messages of all working runs again, from the stored progress on."""
        left = MAX_BATCHES
        async for run in self._working():
            after = loss.progress.get(run.id, "")
            if after == FINISHED or run.created > loss.at:
                continue
            count, after = await self.runs.send_again(run, after, left)
            log.warning(
                "the messages of run %s were lost; %d of them are sent again",
                run.id,
                count,
                extra={"event": "run.messages_resent"},
            )
            saved = await self.incarnations.save(replace(loss, progress={**loss.progress, run.id: after or FINISHED}))
            left -= count
            if saved is None or left <= 0:
                return
            loss = saved
        await self.incarnations.resolve(loss)

    async def _recover_uploads(self) -> None:
        """Start the scheduled run if messages about uploads without rows were lost.

        The blob trigger's queue holds no others. In the job queue wait uploads that a pause or an open circuit breaker
        has refused before their claims: a changed source has the row of its last job then, which tells nothing. A
        scheduled run that is working may have passed these uploads already. The next one starts after its end, and
        after a pause of uploads, during which scheduled runs leave them.
        """
        losses = await self._losses_of_uploads()
        if not losses or "uploads" in await self.runs.pauses.current():
            return
        if [run async for run in self._working() if run.scheduled]:
            return
        if await self.schedule.start() is None:
            return
        for loss in losses:
            await self.incarnations.resolve(loss)

    async def _losses_of_uploads(self) -> list[QueueLoss]:
        """Return the losses after which a scheduled run is to start.

        The loss of the job queue waits for the claims of dead workers to expire: a claim is listed with its first
        heartbeat only, and a scheduled run leaves a job whose claim has not expired.
        """
        names = await self.incarnations.names(BLOB_TRIGGER_QUEUE_PREFIX)
        losses = [await self.incarnations.check(name, create=False) for name in names]
        jobs = await self.incarnations.check(self.jobs.queue.name, create=True)
        return [loss for loss in losses if loss] + [loss for loss in (jobs,) if loss and RESENT in loss.progress]

    async def _start_missed(self) -> None:
        await self.schedule.start_missed()

    async def _working(self) -> AsyncIterator[Run]:
        """Yield the working runs, newest first."""
        after = ""
        while page := await self.store.page("run", PAGE_SIZE, after):
            for key, document in page:
                if document.content.get("state") == "working":
                    run = await self.runs.records.find(key_of(key))
                    if run and not run.over:
                        yield run
            after = page[-1][0]

    async def _is_empty(self) -> bool:
        return not (await self.run_queue.length() or await self.run_dead_letters.length(missing_ok=True))


def _is_settled(run: Run) -> bool:
    return now() - run.created > GRACE
