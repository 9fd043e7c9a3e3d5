"""Records of runs: look them up with their progress, and change them by optimistic concurrency."""

import base64
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.errors import RequestError
from pipeline.runs.model import Progress, Run, is_id, key_of, now
from pipeline.storage import UNFINISHED, Document, RunStore


@dataclass(frozen=True)
class RunRecords:
    """The stored runs."""

    store: RunStore

    async def get(self, run_id: str) -> Run:
        """Return a run with its progress, which is exact when the run is done. Raises RequestError if there is none."""
        return await self._counted(run_id, await self._stored(run_id))

    async def find(self, run_id: str) -> Run | None:
        """Return a run with its progress, or None if there is none."""
        document = await self.store.get("run", key_of(run_id)) if is_id(run_id) else None
        return await self._counted(run_id, document) if document else None

    async def page(self, limit: int = 20, cursor: str = "") -> tuple[list[Run], str]:
        """Return a page of runs, newest first, and the cursor of the next page; it is empty on the last page."""
        rows = await self.store.page("run", limit + 1, _key(cursor))
        runs = [Run.stored(key, document.content) for key, document in rows[:limit]]
        runs = [run if run.state == "done" or run.unreadable else await self.get(run.id) for run in runs]
        following = base64.urlsafe_b64encode(rows[limit - 1][0].encode()).decode() if len(rows) > limit else ""
        return runs, following

    async def update(self, run_id: str, change: Callable[[Run], Run]) -> Run:
        """Change a run by optimistic concurrency: repeat until no other writer interferes.

        Raises RequestError if there is no such run, and every error of `change`.
        """
        while True:
            document = await self._stored(run_id)
            run = Run.under_key(key_of(run_id), document.content)
            changed = change(run)
            if changed == run or await self.store.replace(
                "run", key_of(run_id), document, changed.model_dump(mode="json")
            ):
                return changed

    async def _counted(self, run_id: str, document: Document) -> Run:
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
