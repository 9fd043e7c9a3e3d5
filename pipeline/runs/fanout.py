"""Fan-out: a run's jobs are found page by page, put down in batches, and brought in through the queue.

A page's batches are stored before any message about them is sent, and the run's document moves on after that. So
whatever is killed in between, doing the page again finds the batches that are there, and no job is in two of them.
"""

from __future__ import annotations

import time

from pipeline.runs.lifecycle import send_all, stop, update
from pipeline.runs.model import Run, key_of, now
from pipeline.runs.planning import PAGE
from pipeline.runs.selection import Due, due_jobs, version_mismatch
from pipeline.services import Services
from pipeline.storage.queue import Item, RunWork
from pipeline.storage.run_store import LEFT, Batch
from pipeline.telemetry import logger

log = logger(__name__)
# A function ends after some minutes; the next message goes on.
BUDGET = 120.0
# A column of a table holds 32 Ki characters, a message 48 KiB before it is encoded.
ROW = 16_000
MESSAGE = 45_000


async def find_jobs(services: Services, run_id: str) -> None:
    """Find a run's jobs from where it stands, for a while; then another message does the rest."""
    started = time.monotonic()
    while (run := await _at_work(services, run_id)) and not run.listed:
        if time.monotonic() - started > BUDGET:
            await services.run_queue.send(RunWork(run=run_id))
            return
        await _page(services, run)


async def _at_work(services: Services, run_id: str) -> Run | None:
    document = await services.run_store.get("run", key_of(run_id))
    run = Run.read(document.content) if document else None
    return run if run and run.state == "working" else None


async def _page(services: Services, run: Run) -> None:
    """One page of sources: its batches are stored, their messages sent, and the run moved on."""
    if other := version_mismatch(services, run.selection, run.recipe_versions):
        await stop(services, run.id, f"{other}, and resume the run")
        return
    container, prefix = services.settings.input_container, run.selection.prefix
    page, at = await services.sources.page(container, prefix, run.at, PAGE)
    found = await due_jobs(services, run.selection, page, now())
    if run.last_rank:
        found = [one for one in found if one.rank <= run.last_rank]
    if run.found + len(found) > run.most:
        expected = "" if run.expected is None else f"{run.expected:,} were planned, "
        many = f"there are {run.found + len(found):,} jobs or more: {expected}{run.most:,} at most"
        await stop(services, run.id, f"{many}; plan anew, or resume with a higher cap")
        return
    batches = await _stored(services, run, found)
    await send_all(services, [_message(batch) for batch in batches if LEFT in batch.outcomes])
    jobs = sum(len(batch.items) for batch in batches)

    def moved_on(there: Run) -> Run:
        if there.pages != run.pages:
            return there  # another delivery of the same message was faster
        news = {"at": at, "listed": not at, "pages": run.pages + 1, "found": run.found + jobs}
        return there.model_copy(update={**news, "sources": run.sources + len(page)})

    await update(services, run.id, moved_on)
    log.info("run %s: %d jobs of %d sources, page %d", run.id, jobs, len(page), run.pages)
    if run.scheduled and not at:
        log.info("scheduled run %s found %d jobs", run.id, run.found + jobs)


async def _stored(services: Services, run: Run, found: list[Due]) -> list[Batch]:
    """The page's batches, stored: with those of an earlier try at the same page, which stay as they are."""
    batches = _batches(run, [_item(one) for one in found], services.settings.run_batch_size, 0)
    stored = await services.run_store.create_batches(batches)
    if len(stored) == len(batches):
        return stored
    first, last = _name(run, 0), _name(run, 99_999)
    there = [batch async for batch in services.run_store.batches(run.id, first, last)]
    known = {(item.recipe, item.name) for batch in there for item in batch.items}
    rest = [item for item in map(_item, found) if (item.recipe, item.name) not in known]
    more = _batches(run, rest, services.settings.run_batch_size, len(there))
    return [*there, *await services.run_store.create_batches(more)]


def _batches(run: Run, items: list[Item], size: int, number: int) -> list[Batch]:
    chunks: list[list[Item]] = []
    room = 0
    for item in items:
        units = 200 + len(item.name.encode("utf-16-le")) // 2
        if not chunks or len(chunks[-1]) >= size or units > room:
            chunks.append([])
            room = ROW
        chunks[-1].append(item)
        room -= units
    return [
        Batch(run.id, _name(run, number + place), tuple(chunk), LEFT * len(chunk)) for place, chunk in enumerate(chunks)
    ]


def _message(batch: Batch) -> RunWork:
    """With the batch's jobs in it, as long as it fits into a message: that saves reading the row."""
    work = RunWork(run=batch.run, batch=batch.name, etag=batch.etag, items=list(batch.items))
    fits = len(work.model_dump_json(exclude_defaults=True).encode()) <= MESSAGE
    return work if fits else RunWork(run=batch.run, batch=batch.name)


def _name(run: Run, number: int) -> str:
    return f"{run.pages:08d}-{number:05d}"


def _item(one: Due) -> Item:
    if one.entry is None:
        return Item(recipe=one.recipe.name, name=one.source.name)
    row = one.entry
    return Item(
        recipe=one.recipe.name,
        name=one.source.name,
        generation=row.generation,
        etag=row.row_etag,
        listed=row.listed,
    )
