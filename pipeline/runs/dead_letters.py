"""Dead letters of runs: record the jobs of an undeliverable piece of a run as failures."""

from __future__ import annotations

from functools import partial

from pipeline.jobs.dead_letters import POISON_QUEUE_SUFFIX, record_or_requeue, undeliverable
from pipeline.runs.lifecycle import stop
from pipeline.runs.worker import record_item_failure
from pipeline.services import Services
from pipeline.storage.queue import RunWork


async def handle_run_message(services: Services, body: bytes) -> None:
    """A piece of a run: the jobs of a batch that have not ended fail; a run that cannot find its jobs stops."""

    async def record() -> None:
        work = RunWork.parse(body)
        if not work.batch:
            await stop(services, work.run, "finding its jobs broke off each time; the log says why; resume it")
            return
        batch = await services.run_store.batch(work.run, work.batch)
        if batch is None:
            return
        end = partial(record_item_failure, services, work.run, attempt=work.attempt, error=undeliverable())
        ends = {place: await end(batch.items[place]) for place in batch.left}
        outcomes = {place: one.outcome for place, one in ends.items() if one.outcome}
        batch = await services.run_store.settle(batch, outcomes)
        if batch.left:
            # Somebody may still be on these: once their claims have ended, that is seen.
            await services.run_queue.send(RunWork(run=work.run, batch=work.batch), services.settings.claim_ttl)

    await record_or_requeue(services, services.settings.run_queue + POISON_QUEUE_SUFFIX, body, record)
