"""Fan out a run: find its jobs page by page, store them in batches, and queue a message for each batch.

A page's batches are stored before their messages are sent, and the run's document advances after that. If the process
is killed in between, repeating the page finds the stored batches, and no job is in two of them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from pipeline.runs.lifecycle import RunController
from pipeline.runs.model import Run, key_of
from pipeline.runs.selection import Due, JobFinder
from pipeline.settings import Settings
from pipeline.storage.queue import Item, JobQueue, RunWork
from pipeline.storage.run_store import UNFINISHED, Batch, RunStore
from pipeline.telemetry import logger

log = logger(__name__)
# A function ends after some minutes; the next message continues.
TIME_BUDGET_SECONDS = 120.0
# A column of a table holds 32 Ki characters, and a message 48 KiB before it is encoded.
MAX_BATCH_CHARACTERS = 16_000
MAX_MESSAGE_BYTES = 45_000
MAX_BATCHES_PER_PAGE = 99_999


@dataclass(frozen=True)
class FanOut:
    """Find the jobs of runs and queue them in batches."""

    settings: Settings
    store: RunStore
    queue: JobQueue
    finder: JobFinder
    controller: RunController

    async def find_jobs(self, run_id: str) -> None:
        """Find a run's jobs from its current page on, for up to two minutes; then queue a message for the rest."""
        started = time.monotonic()
        while (run := await self._working_run(run_id)) and not run.listed:
            if time.monotonic() - started > TIME_BUDGET_SECONDS:
                await self.queue.send(RunWork(run=run_id))
                return
            await self._process_page(run)

    async def _working_run(self, run_id: str) -> Run | None:
        document = await self.store.get("run", key_of(run_id))
        run = Run.model_validate(document.content) if document else None
        return run if run and run.state == "working" else None

    async def _process_page(self, run: Run) -> None:
        """Process one page of sources: store its batches, send their messages, and advance the run."""
        if await self.controller.stop_on_version_mismatch(run):
            return
        page = await self.finder.page(run.selection, run.at)
        jobs = [job for job in page.jobs if not run.last_rank or job.rank <= run.last_rank]
        if run.found + len(jobs) > run.most:
            planned = "" if run.expected is None else f"{run.expected:,} were planned, "
            counts = f"there are {run.found + len(jobs):,} jobs or more: {planned}{run.most:,} at most"
            await self.controller.stop(run.id, f"{counts}; make a new plan, or resume with a higher cap")
            return
        batches = await self._store_batches(run, jobs)
        await self.controller.send_all([_message(batch) for batch in batches if UNFINISHED in batch.outcomes])
        count = sum(len(batch.items) for batch in batches)

        def advanced(stored: Run) -> Run:
            if stored.pages != run.pages:
                return stored  # another delivery of the same message was faster
            position = {"at": page.offset, "listed": not page.offset, "pages": run.pages + 1}
            counts = {"found": run.found + count, "sources": stored.sources + page.sources}
            return stored.model_copy(update={**position, **counts})

        await self.controller.update(run.id, advanced)
        log.info(
            "run %s: %d jobs of %d sources, page %d",
            run.id,
            count,
            page.sources,
            run.pages,
            extra={"event": "run.page_listed"},
        )
        if run.scheduled and not page.offset and run.found + count:
            log.info(
                "scheduled run %s found %d jobs", run.id, run.found + count, extra={"event": "run.missed_jobs_found"}
            )

    async def _store_batches(self, run: Run, jobs: list[Due]) -> list[Batch]:
        """Store the page's batches. Batches of an earlier attempt at the same page remain as they are."""
        items = [_item(job) for job in jobs]
        batches = _batches(run, items, self.settings.run_batch_size, 0)
        stored = await self.store.create_batches(batches)
        if len(stored) == len(batches):
            return stored
        first, last = _batch_name(run, 0), _batch_name(run, MAX_BATCHES_PER_PAGE)
        existing = [batch async for batch in self.store.batches(run.id, first, last)]
        known = {(item.recipe, item.name) for batch in existing for item in batch.items}
        rest = [item for item in items if (item.recipe, item.name) not in known]
        more = _batches(run, rest, self.settings.run_batch_size, len(existing))
        return [*existing, *await self.store.create_batches(more)]


def _batches(run: Run, items: list[Item], size: int, number: int) -> list[Batch]:
    """Split items into batches of at most `size` items and of the characters that fit into a row."""
    chunks: list[list[Item]] = []
    left = 0
    for item in items:
        characters = 200 + len(item.name.encode("utf-16-le")) // 2
        if not chunks or len(chunks[-1]) >= size or characters > left:
            chunks.append([])
            left = MAX_BATCH_CHARACTERS
        chunks[-1].append(item)
        left -= characters
    return [
        Batch(run.id, _batch_name(run, number + index), tuple(chunk), UNFINISHED * len(chunk))
        for index, chunk in enumerate(chunks)
    ]


def _message(batch: Batch) -> RunWork:
    """Return the message of a batch. It includes the jobs if they fit, which saves reading the row."""
    work = RunWork(run=batch.run, batch=batch.name, etag=batch.etag, items=list(batch.items))
    fits = len(work.model_dump_json(exclude_defaults=True).encode()) <= MAX_MESSAGE_BYTES
    return work if fits else RunWork(run=batch.run, batch=batch.name)


def _batch_name(run: Run, number: int) -> str:
    return f"{run.pages:08d}-{number:05d}"


def _item(job: Due) -> Item:
    if job.entry is None:
        return Item(recipe=job.recipe.name, name=job.source.name)
    row = job.entry
    return Item(
        recipe=job.recipe.name,
        name=job.source.name,
        generation=row.generation,
        etag=row.row_etag,
        listed=row.listed,
    )
