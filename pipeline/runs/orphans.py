"""Collect orphans: find renditions without a source or a recipe, and delete them on request."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

from pipeline.errors import ConfigError, JobSuperseded, RecipeError, StorageNotFound
from pipeline.recipes import Recipes
from pipeline.storage import JobKey, Ledger, MarkedBlob, Renditions, Sources, source_of
from pipeline.telemetry import logger

log = logger(__name__)
Reason = Literal["recipe gone", "source gone"]


@dataclass(frozen=True)
class Orphan:
    """A rendition whose source or recipe no longer exists."""

    blob: MarkedBlob
    why: Reason


@dataclass(frozen=True)
class OrphanCollector:
    """Find and delete orphans."""

    ledger: Ledger
    sources: Sources
    renditions: Renditions
    recipes: Recipes

    async def find(self, prefix: str = "") -> AsyncIterator[Orphan]:
        """Yield the orphans below a prefix of output paths. Only blobs with the pipeline's mark are considered.

        Ad-hoc recipes always count as existing.
        """
        marker = ""
        while True:
            page, marker = await self.renditions.marked(prefix, marker)
            reasons: dict[str, Reason | None] = {}
            for blob in page:
                if blob.job not in reasons:
                    reasons[blob.job] = await self._reason(blob.job)
                reason = reasons[blob.job]
                if reason:
                    yield Orphan(blob, reason)
            if not marker:
                return

    async def delete(self, orphan: Orphan) -> bool:
        """Delete an orphan and the ledger row of its job; False if it has changed since it was found.

        The row remains if it alone holds the full name of the source: without it, the job's other renditions could
        never be found.
        """
        if await self._reason(orphan.blob.job) is None or not await self.renditions.delete(orphan.blob):
            return False
        key = JobKey.parse(orphan.blob.job)
        entry = await self.ledger.get(key)
        if entry and not entry.is_running and source_of(key):
            await self.ledger.delete(entry)
        log.info("deleted %s: %s", orphan.blob.path, orphan.why, extra={"event": "orphan.deleted"})
        return True

    async def _reason(self, job: str) -> Reason | None:
        """Return the reason why a job's renditions are orphans; None if they are not, or if that is unknown."""
        try:
            key = JobKey.parse(job)
        except RecipeError:
            return None
        source = source_of(key) or await self._recorded_source(key)
        if source is None:
            return None
        try:
            await self.sources.stat(*source)
        except JobSuperseded:
            return "source gone"
        except (ConfigError, StorageNotFound):
            return None  # a container of another pipeline
        return None if key.is_grouped or key.recipe in self.recipes.names else "recipe gone"

    async def _recorded_source(self, key: JobKey) -> tuple[str, str] | None:
        """Return the source of a job whose key holds only the beginning of the name."""
        entry = await self.ledger.get(key)
        return (entry.container, entry.name) if entry else None
