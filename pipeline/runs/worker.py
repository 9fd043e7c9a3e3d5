"""The jobs of one batch of a run: done side by side, what came of each written down once."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from pipeline.errors import JobSuperseded, PermanentError, PoolFull, RecipeError, TransientError
from pipeline.jobs.dispatch import record_failure, retry_delay
from pipeline.jobs.execution import execute_job
from pipeline.jobs.rendering import SchedulingPolicy
from pipeline.runs.fanout import find_jobs
from pipeline.runs.lifecycle import stop
from pipeline.runs.model import Run, key_of
from pipeline.runs.selection import version_mismatch
from pipeline.services import Services
from pipeline.storage.entry import Entry, Version
from pipeline.storage.keys import JobKey
from pipeline.storage.queue import Item, Message, RunWork
from pipeline.storage.run_store import LEFT, Batch, Outcome
from pipeline.telemetry import about_job, logger

log = logger(__name__)
# How many seconds a process believes that a run has not been cancelled: it is to stop within a minute.
BELIEVED = 20.0


async def handle_message(services: Services, body: bytes) -> None:
    """Do the piece of a run that a queue message asks for. RecipeError when it is no such message."""
    work = RunWork.parse(body)
    if work.batch:
        await do_batch(services, work)
    else:
        await find_jobs(services, work.run)


async def do_batch(services: Services, work: RunWork) -> None:
    """Do what is left of a batch; what cannot be done now is brought in again by another message."""
    run = await _at_work(services, work.run)
    if run is None:
        log.info("run %s is over: batch %s is left as it is", work.run, work.batch)
        return
    if other := version_mismatch(services, run.selection, run.recipe_versions):
        await stop(services, run.id, f"{other}, and resume the run")
        return
    batch = await _batch(services, work)
    if batch is None or not batch.left:
        return
    ends = await _side_by_side(services, batch, work.attempt)
    tries = {place: one for place, one in ends.items() if isinstance(one, ItemResult)}
    outcomes = {place: one.outcome for place, one in tries.items() if one.outcome}
    batch = await services.run_store.settle(batch, outcomes)
    for one in ends.values():
        if isinstance(one, BaseException):
            raise one  # the platform brings the rest again
    if batch.left and await _at_work(services, work.run):
        failed = any(one.failed for one in tries.values())
        waits = failed or any(one.waits for one in tries.values())
        again = RunWork(run=work.run, batch=work.batch, attempt=work.attempt + int(failed))
        await services.run_queue.send(again, retry_delay(services, again.attempt) if waits else 0)


async def _at_work(services: Services, run_id: str) -> Run | None:
    """A run whose jobs should begin; None when it is over, or nobody knows it.

    That it is at work is believed for a while; that it is over is not, since somebody may have resumed it.
    """
    for seconds in (BELIEVED, 0):
        document = await services.run_store.recent("run", key_of(run_id), seconds)
        run = Run.read(document.content) if document else None
        if run and not run.over:
            return run
    return None


@dataclass(frozen=True)
class ItemResult:
    """What came of a job this time: an outcome, or none since it `waits` for something or this try has `failed`."""

    outcome: Outcome | None = None
    waits: bool = False
    failed: bool = False


async def _batch(services: Services, work: RunWork) -> Batch | None:
    """The batch, from the message as long as it is as it was made."""
    if work.items and work.etag:
        return Batch(work.run, work.batch, tuple(work.items), LEFT * len(work.items), work.etag)
    return await services.run_store.batch(work.run, work.batch)


async def _side_by_side(services: Services, batch: Batch, attempt: int) -> dict[int, ItemResult | BaseException]:
    """What came of each job, or what was raised where not even that could be written down."""
    until = time.monotonic() + services.settings.run_batch_timeout

    async def one(place: int) -> ItemResult:
        async with services.run_slots:
            if time.monotonic() > until or await _at_work(services, batch.run) is None:
                return ItemResult()
            item = batch.items[place]
            with about_job(JobKey.of(item.recipe, services.settings.input_container, item.name).id):
                return await _job(services, batch.run, item, attempt)

    places = batch.left
    ends = await asyncio.gather(*map(one, places), return_exceptions=True)
    return dict(zip(places, ends, strict=True))


async def _job(services: Services, run: str, item: Item, attempt: int) -> ItemResult:
    container = services.settings.input_container
    try:
        recipe = services.recipes.get(item.recipe)
        urgency = SchedulingPolicy("run", fairness_key=run)
        known = _known(container, item)
        entry = await execute_job(
            services,
            container,
            item.name,
            recipe,
            urgency=urgency,
            again=True,
            seen=item.generation,
            run=run,
            known=known,
        )
        return _try(entry, run)
    except JobSuperseded as error:
        log.info("nothing to do: %s", error)
        return _try(await services.ledger.get(JobKey.of(item.recipe, container, item.name)), run)
    except RecipeError as error:
        log.warning("the job is left out: %s", error)
        return ItemResult("skipped")
    except PermanentError as error:
        return await record_item_failure(services, run, item, attempt, error)
    except PoolFull:
        return ItemResult(waits=True)
    except TransientError as error:
        return await _once_more(services, run, item, attempt, error)
    except Exception as error:  # the boundary: a bug must not lose a job
        log.exception("a bug: the job is tried again")
        told = TransientError(f"internal error ({type(error).__name__}); the log has the details", kind="internal")
        return await _once_more(services, run, item, attempt, told)


async def _once_more(services: Services, run: str, item: Item, attempt: int, error: TransientError) -> ItemResult:
    """Another try, or a failure when there were enough."""
    if attempt + 1 < services.settings.max_attempts:
        log.info("attempt %d did not succeed: %s", attempt + 1, error)
        return ItemResult(failed=True)
    try:
        return await record_item_failure(services, run, item, attempt, error)
    except TransientError as trouble:
        log.warning("the failure cannot be recorded now: %s", trouble)
        return ItemResult(failed=True)


async def record_item_failure(
    services: Services, run: str, item: Item, attempt: int, error: PermanentError | TransientError
) -> ItemResult:
    """Record that a job of a run cannot be done, or was tried often enough. See `give_up`."""
    container = services.settings.input_container
    message = Message(
        recipe=item.recipe, container=container, name=item.name, attempt=attempt, again=True, seen=item.generation
    )
    try:
        return _try(await record_failure(services, message, error, run=run), run)
    except JobSuperseded as gone:
        log.info("nothing to do: %s", gone)
        return _try(await services.ledger.get(JobKey.of(item.recipe, container, item.name)), run)
    except PermanentError as trouble:
        log.warning("the job is left out: %s", trouble)
        return ItemResult("skipped")


def _known(container: str, item: Item) -> Entry | None:
    """The row as it was when the job was found, as far as claiming it asks for."""
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
        row_etag=item.etag,
    )


def _try(entry: Entry | None, run: str) -> ItemResult:
    """What a job's row means for the run. What ended in another's hands is skipped, what is in them is left."""
    if entry is None:
        return ItemResult("skipped")
    if entry.is_running:
        return ItemResult(waits=True)
    ours: dict[str, Outcome] = {"done": "done", "failed": "failed"}
    return ItemResult(ours.get(entry.state, "skipped") if entry.run == run else "skipped")
