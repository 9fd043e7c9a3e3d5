"""Fan out a run: find its due jobs page by page, and queue them in batches.

A page's batches are stored before their messages are sent, and the run's document advances after that. If the process
is killed in between, repeating the page finds the stored batches, and no job is in two of them.

A run that reaches its cap takes a part of the page, and processes what it has found.
"""

import heapq
import time
from dataclasses import dataclass
from typing import Any

from pipeline.runs.lifecycle import RunController
from pipeline.runs.model import Run, key_of
from pipeline.runs.rounds import MAX_ROUND_NIGHTS, MISSED_REASONS, Night
from pipeline.runs.schedule import save_rounds
from pipeline.runs.selection import FIRST_PLACE, Due, DuePage, JobFinder, Place, Reason
from pipeline.runs.tenants import tenant_batch_size, tenant_of
from pipeline.settings import Settings
from pipeline.storage import UNFINISHED, Batch, Item, JobQueue, RunStore, RunWork
from pipeline.telemetry import logger

log = logger(__name__)
# A function ends after some minutes; the next message continues.
TIME_BUDGET_SECONDS = 120.0
# The column of a batch's items holds 64 KiB, and a message 48 KiB before it is encoded.
MAX_BATCH_BYTES = 60_000
MAX_MESSAGE_BYTES, MAX_MESSAGE_ITEMS = 45_000, 100
MAX_BATCHES_PER_PAGE = 99_999
# The reasons of jobs whose events or messages may wait for the end of a pause, by the paused kind of work.
WAITING_REASONS: dict[str, tuple[Reason, ...]] = {"uploads": MISSED_REASONS, "requests": ("unfinished",)}


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
        started, retried = time.monotonic(), True
        while (run := await self._working_run(run_id)) and not run.listed:
            if time.monotonic() - started > TIME_BUDGET_SECONDS:
                await self.queue.send(RunWork(run=run_id))
                return
            # Only the first page may have been processed in part, by a delivery that was interrupted.
            await self._process_page(run, retried=retried)
            retried = False

    async def _working_run(self, run_id: str) -> Run | None:
        document = await self.store.get("run", key_of(run_id))
        run = Run.under_key(key_of(run_id), document.content) if document else None
        return run if run and run.state == "working" else None

    async def _process_page(self, run: Run, *, retried: bool) -> None:
        """Process one page of sources: store its batches, send their messages, and advance the run."""
        if await self.controller.stop_on_version_mismatch(run):
            return
        page = await self.finder.page(run.selection.model_copy(update={"reasons": await self._reasons(run)}), run.at)
        jobs = [job for job in page.jobs if _is_wanted(run, job)]
        room = (run.night.limit if run.night else run.most) - run.found
        batches = await self._store_batches(run, jobs, room, retried=retried)
        await self.controller.send_all([_message(batch) for batch in batches if UNFINISHED in batch.outcomes])
        taken = [(item.name, item.recipe) for batch in batches for item in batch.items]
        if run.night:
            changes = await self._after_page_of_night(run, run.night, page, taken)
        else:
            changes = _after_page(run, page, taken, more_due=bool({job.place for job in jobs} - {*taken}))

        def advanced(stored: Run) -> Run:
            if stored.pages != run.pages:
                return stored  # another delivery of the same message was faster
            position = {**changes, "pages": run.pages + 1, "found": run.found + len(taken)}
            return stored.model_copy(update={**position, "why": stored.why or changes.get("why", "")})

        advanced_run = await self.controller.records.update(run.id, advanced)
        log.info(
            "run %s: %d jobs of %d sources, page %d",
            run.id,
            len(taken),
            page.sources,
            run.pages,
            extra={"event": "run.page_listed"},
        )
        if changes.get("more_due"):
            log.warning("run %s: %s", run.id, advanced_run.why, extra={"event": "run.cap_reached"})

    async def _reasons(self, run: Run) -> tuple[Reason, ...]:
        """Return the reasons for which the run takes jobs of its current page.

        A scheduled run leaves jobs whose event or message waits for the end of a pause.
        """
        if run.night is None:
            return run.selection.reasons
        pauses = await self.controller.pauses.current()
        waiting = {reason for work in pauses for reason in WAITING_REASONS.get(work, ())}
        if waiting and run.pages == 0:
            log.warning(
                "scheduled run %s leaves the jobs that are %s: their messages wait for `image-pipeline resume %s`",
                run.id,
                ", ".join(sorted(waiting)),
                " ".join(pauses),
                extra={"event": "run.paused_jobs_left"},
            )
        return tuple(reason for reason in run.night.pass_reasons if reason not in waiting)

    async def _after_page_of_night(self, run: Run, night: Night, page: DuePage, taken: list[Place]) -> dict[str, Any]:
        """Return the changes of a scheduled run after a page. After the last one, store the rounds' positions."""
        after, cursor = night.after_page(page, run.at, taken, run.found + len(taken))
        if night.counting and not after.counting and after.events_missed:
            log.info(
                "scheduled run %s found %d jobs that no event has started",
                run.id,
                after.events_missed,
                extra={"event": "run.missed_jobs_found"},
            )
        sources = run.sources + (page.sources if night.counting else 0)
        changes = {"night": after, "at": cursor, "listed": after.ended, "sources": sources}
        if not after.ended:
            return changes
        await save_rounds(self.store, run.selection.prefix, after)
        for group, its_round in after.next_rounds.items():
            if its_round.nights >= MAX_ROUND_NIGHTS:
                log.warning(
                    "the round of the reason group %s has taken %d nights, and is not complete: the jobs of a night "
                    "are limited by %s",
                    group,
                    its_round.nights,
                    run.cap,
                    extra={"event": "run.round_slow"},
                )
        if not after.more_due:
            return changes
        why = f"more is due: {after.more_due:,} jobs or more wait for the next nights, {run.most:,} a night ({run.cap})"
        return {**changes, "more_due": True, "why": why}

    async def _store_batches(self, run: Run, jobs: list[Due], room: int, *, retried: bool) -> list[Batch]:
        """Store the page's batches, with as many jobs as there is room for.

        Batches of an earlier attempt at the same page remain as they are, even if all of their jobs have ended since.
        """
        items = [_item(job, scheduled=run.night is not None) for job in jobs]
        existing = await self._batches_of_page(run) if retried else []
        while True:
            known = {(item.name, item.recipe) for batch in existing for item in batch.items}
            rest = [item for item in items if (item.name, item.recipe) not in known]
            batches = self._batches(run, _first(rest, room - len(known)), len(existing))
            stored = await self.store.create_batches(batches)
            if len(stored) == len(batches):
                return [*existing, *stored]
            existing = await self._batches_of_page(run)

    def _batches(self, run: Run, items: list[Item], number: int) -> list[Batch]:
        """Divide the items of a page into batches, in the order of their first items.

        The jobs of a tenant stay together, up to the number that a session serves. All others are mixed in the order of
        the sources, so that the jobs of each label come evenly.
        """
        groups: dict[str, list[Item]] = {}
        for item in items:
            recipe = self.finder.recipes.get(item.recipe)
            groups.setdefault(tenant_of(recipe, item.name), []).append(item)
        others = _chunks(sorted(groups.pop("", []), key=_place), self.settings.run_batch_size)
        tenants = [chunk for group in groups.values() for chunk in _chunks(group, tenant_batch_size(self.settings))]
        chunks = sorted(others + _joined(tenants, self.settings.run_batch_size), key=lambda chunk: _place(chunk[0]))
        return [
            Batch(run.id, _batch_name(run, number + index), tuple(chunk), UNFINISHED * len(chunk))
            for index, chunk in enumerate(chunks)
        ]

    async def _batches_of_page(self, run: Run) -> list[Batch]:
        first, last = _batch_name(run, 0), _batch_name(run, MAX_BATCHES_PER_PAGE)
        return [batch async for batch in self.store.batches(run.id, first, last)]


def _is_wanted(run: Run, job: Due) -> bool:
    """Return True if the run takes this job, cap permitting."""
    if run.night:
        return run.night.wants(job)
    return job.place > run.after and (not run.last_rank or job.rank <= run.last_rank)


def _after_page(run: Run, page: DuePage, taken: list[Place], *, more_due: bool) -> dict[str, Any]:
    """Return the changes of a run that is not scheduled. If jobs of the page are left, resuming it continues there."""
    if not more_due:
        position = {"at": page.offset, "after": FIRST_PLACE, "listed": not page.offset}
        return {**position, "sources": run.sources + page.sources}
    planned = "" if run.expected is None else f"{run.expected:,} jobs were planned, "
    why = f"more is due: {planned}{run.most:,} at most; make a new plan, or resume the run with a higher cap"
    return {"listed": True, "more_due": True, "after": max(taken, default=run.after), "why": why}


def _first(items: list[Item], room: int) -> list[Item]:
    """Return the first items by place, as many as there is room for, in the order of the page."""
    if len(items) <= room:
        return items
    kept = set(heapq.nsmallest(max(0, room), map(_place, items)))
    return [item for item in items if (item.name, item.recipe) in kept]


def _place(item: Item) -> Place:
    return item.name, item.recipe


def _chunks(items: list[Item], size: int) -> list[list[Item]]:
    """Split items into chunks of at most `size` items and of the bytes that fit into a row."""
    chunks: list[list[Item]] = []
    left = 0
    for item in items:
        item_bytes = 200 + sum(len(text.encode("utf-8", "surrogatepass")) + 3 for text in (item.name, *item.outputs))
        if not chunks or len(chunks[-1]) >= size or item_bytes > left:
            chunks.append([])
            left = MAX_BATCH_BYTES
        chunks[-1].append(item)
        left -= item_bytes
    return chunks


def _joined(chunks: list[list[Item]], size: int) -> list[list[Item]]:
    """Join small chunks that follow one another, up to `size` items."""
    joined: list[list[Item]] = []
    for chunk in chunks:
        if joined and len(joined[-1]) + len(chunk) <= size:
            joined[-1] += chunk
        else:
            joined.append(list(chunk))
    return joined


def _message(batch: Batch) -> RunWork:
    """Return the message of a batch. It includes the jobs if they fit, which saves reading the row."""
    if len(batch.items) > MAX_MESSAGE_ITEMS:
        return RunWork(run=batch.run, batch=batch.name)
    work = RunWork(run=batch.run, batch=batch.name, etag=batch.etag, items=list(batch.items))
    fits = len(work.model_dump_json(exclude_defaults=True).encode()) <= MAX_MESSAGE_BYTES
    return work if fits else RunWork(run=batch.run, batch=batch.name)


def _batch_name(run: Run, number: int) -> str:
    return f"{run.pages:08d}-{number:05d}"


def _item(job: Due, *, scheduled: bool) -> Item:
    row = job.entry
    missed = scheduled and job.reason in MISSED_REASONS
    item = Item(recipe=job.recipe.name, name=job.source.name, generation=row.generation if row else 0, missed=missed)
    if row is None:
        return item
    if job.reason in ("etag_changed", "unfinished"):
        # The worker reads the row, to compare the content, or to find that the job has ended after all.
        return item.model_copy(update={"compare": True})
    if job.reason == "service_failed":
        # The worker reads the row: it counts the runs that have retried this failure.
        return item
    return item.model_copy(update={"etag": row.row_etag, "listed": row.listed, "outputs": row.outputs})
