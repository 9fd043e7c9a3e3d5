"""Handle the dead letters of runs: record their jobs as failures."""

from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from pipeline.errors import PermanentError, PipelineError, RequestError, TransientError
from pipeline.jobs.dead_letters import DeadLetterQueue, undeliverable
from pipeline.runs.lifecycle import RunController
from pipeline.runs.worker import ItemExecutor
from pipeline.storage import JobQueue, Outcome, RunStore, RunWork


@dataclass(frozen=True)
class RunDeadLetterHandler:
    """Record the dead letters of the run queue, and the failures of its unreadable messages."""

    store: RunStore
    controller: RunController
    items: ItemExecutor
    dead_letters: DeadLetterQueue
    queue: JobQueue

    async def handle_message(self, body: bytes) -> None:
        """Fail the unfinished jobs of a batch; stop a run that cannot find its jobs."""

        async def record() -> None:
            await self._fail(RunWork.parse(body), undeliverable())

        await self.dead_letters.record(body, record, partial(self.fail_message, body))

    async def fail_message(self, body: bytes, error: PipelineError) -> bool:
        """Record the failures of the jobs that a message names, unreadable or not; return False if it names none."""
        work = RunWork.salvage(body)
        if work is None:
            return False
        await self._fail(work, PermanentError(error.message, kind=error.kind))
        return True

    async def _fail(self, work: RunWork, error: PermanentError | TransientError) -> None:
        if not work.batch:
            reason = f"its jobs cannot be found: {error.message}; the log has the reason; resume the run"
            with suppress(RequestError):  # retention has deleted the run
                await self.controller.stop(work.run, reason)
            return
        batch = await self.store.batch(work.run, work.batch)
        if batch is None:
            return
        outcomes: dict[int, Outcome] = {}
        for index in batch.unfinished:
            result = await self.items.record_failure(work, batch.items[index], error)
            if result.outcome:
                outcomes[index] = result.outcome
        batch = await self.store.settle(batch, outcomes)
        if batch.unfinished:
            # Another worker may hold a claim; check again after it expires.
            await self.queue.send(RunWork(run=work.run, batch=work.batch), self.dead_letters.retry_seconds)
