"""Collect orphans: find renditions without a source or a recipe, and replaced ones; delete them on request."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

from pipeline.concurrency import map_concurrently
from pipeline.errors import (
    ConfigError,
    JobSuperseded,
    PermanentError,
    RecipeError,
    StateConflict,
    StorageNotFound,
    TransientError,
    is_about_one_blob,
)
from pipeline.recipes import Recipes
from pipeline.runs.active_recipes import ActiveRecipes
from pipeline.storage import Entry, JobKey, Ledger, MarkedBlob, Renditions, Sources, source_of
from pipeline.telemetry import logger

log = logger(__name__)
Reason = Literal["recipe gone", "source gone", "replaced"]
# Jobs that are looked up at the same time, and in one step of a search.
CONCURRENCY, STEP = 16, 500


@dataclass(frozen=True)
class Orphan:
    """A rendition whose source or recipe no longer exists, or that a newer job has replaced at another path."""

    blob: MarkedBlob
    why: Reason


@dataclass(frozen=True)
class _Job:
    """The facts about a job that decide over its renditions. `reason` holds for all of them."""

    reason: Reason | None
    entry: Entry | None


@dataclass(frozen=True)
class OrphanCollector:
    """Find and delete orphans."""

    upload_container: str
    ledger: Ledger
    sources: Sources
    renditions: Renditions
    recipes: Recipes
    active: ActiveRecipes

    async def find(self, prefix: str = "") -> AsyncIterator[Orphan]:
        """Yield the orphans below a prefix of output paths. Only blobs with the pipeline's mark are considered.

        Ad-hoc recipes always count as existing, and so do the images of requests: a lifecycle rule deletes those.

        Raises:
            StateConflict: A recipe does not exist here, but the recipes of the app are others or unknown.
        """
        marker = ""
        while True:
            page, marker = await self.renditions.marked(prefix, marker)
            for start in range(0, len(page), STEP):
                step = page[start : start + STEP]
                ids = list(dict.fromkeys(blob.job for blob in step))
                jobs = dict(zip(ids, await map_concurrently(self._job, ids, CONCURRENCY), strict=True))
                for blob in step:
                    reason = _reason(blob, jobs[blob.job])
                    if reason == "recipe gone":
                        await self._check_recipes(blob)
                    if reason:
                        yield Orphan(blob, reason)
            if not marker:
                return

    async def delete(self, orphan: Orphan) -> bool:
        """Delete an orphan, and the ledger row of a job without source or recipe.

        The row remains if it alone holds the full name of the source: without it, the job's other renditions could
        never be found.

        Returns:
            False if the orphan has changed since it was found, or is none any more.
        """
        job = await self._job(orphan.blob.job)
        reason = _reason(orphan.blob, job)
        if reason is None or not await self.renditions.delete(orphan.blob.path, orphan.blob.etag):
            return False
        key, entry = JobKey.parse(orphan.blob.job), job.entry
        if reason != "replaced" and entry and not entry.is_running and source_of(key):
            await self.ledger.delete(entry)
        log.info("deleted %s: %s", orphan.blob.path, reason, extra={"event": "orphan.deleted"})
        return True

    async def _job(self, job: str) -> _Job:
        try:
            key = JobKey.parse(job)
        except RecipeError:
            return _Job(None, None)
        entry = await self.ledger.get(key)
        source = source_of(key) or (entry and (entry.container, entry.name))
        if not source:
            return _Job(None, entry)
        if source[0] != self.upload_container:
            try:
                await self.sources.stat(*source)
            except JobSuperseded:
                return _Job("source gone", entry)
            except (ConfigError, StorageNotFound):
                return _Job(None, None)  # a container of another pipeline
            except (PermanentError, TransientError) as error:
                if not is_about_one_blob(error):
                    raise
        return _Job(None if key.is_grouped or key.recipe in self.recipes.names else "recipe gone", entry)

    async def _check_recipes(self, blob: MarkedBlob) -> None:
        """Raise StateConflict unless the recipes of this process are those of the app."""
        mismatch = await self.active.mismatch()
        if mismatch:
            raise StateConflict(
                f"{blob.path} belongs to a recipe that does not exist here, and the app may have it: {mismatch}",
                kind="recipes_differ",
            )


def _reason(blob: MarkedBlob, job: _Job) -> Reason | None:
    """Return the reason why a rendition is an orphan; None if it is none, or if that is unknown.

    A job that is done lists its renditions. A rendition of an earlier generation that it does not list is replaced.
    """
    if job.reason or job.entry is None or job.entry.state != "done":
        return job.reason
    listed = {one.get("path") for one in job.entry.renditions}
    return "replaced" if blob.mark.generation < job.entry.generation and blob.path not in listed else None
