"""Handle the dead letters of runs: record their jobs as failures."""

from dataclasses import dataclass

from pipeline.jobs.dead_letters import DeadLetterQueue, undeliverable
from pipeline.runs.lifecycle import RunController
from pipeline.runs.worker import ItemExecutor
from pipeline.storage import JobQueue, Outcome, RunStore, RunWork


@dataclass(frozen=True)
class RunDeadLetterHandler:
    """Record the dead letters of the run queue."""

    store: RunStore
    controller: RunController
    items: ItemExecutor
    dead_letters: DeadLetterQueue
    queue: JobQueue

    async def handle_message(self, body: bytes) -> None:
        """Fail the unfinished jobs of a batch; stop a run that cannot find its jobs."""

        async def record() -> None:
            work = RunWork.parse(body)
            if not work.batch:
                reason = "every attempt to find its jobs was interrupted; the log has the reason; resume the run"
                await self.controller.stop(work.run, reason)
                return
            batch = await self.store.batch(work.run, work.batch)
            if batch is None:
                return
            outcomes: dict[int, Outcome] = {}
            for index in batch.unfinished:
                result = await self.items.record_failure(
                    work.run, batch.items[index], attempt=work.attempt, error=undeliverable()
                )
                if result.outcome:
                    outcomes[index] = result.outcome
            batch = await self.store.settle(batch, outcomes)
            if batch.unfinished:
                # Another worker may hold a claim; check again after it expires.
                await self.queue.send(RunWork(run=work.run, batch=work.batch), self.dead_letters.retry_seconds)

        await self.dead_letters.record(body, record)
