"""Renditions that nothing stands behind any more: found, and deleted only when somebody says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

from pipeline.errors import ConfigError, JobSuperseded, RecipeError
from pipeline.services import Services
from pipeline.storage.blobs import MarkedBlob
from pipeline.storage.keys import JobKey, source_of
from pipeline.telemetry import logger

log = logger(__name__)
Why = Literal["recipe gone", "source gone"]


@dataclass(frozen=True)
class Orphan:
    """A rendition whose source or recipe is gone."""

    blob: MarkedBlob
    why: Why


async def orphans(services: Services, prefix: str = "") -> AsyncIterator[Orphan]:
    """All of them below a prefix of output paths; only what carries the pipeline's mark is looked at.

    A recipe that came with a request is never gone.
    """
    marker = ""
    while True:
        page, marker = await services.renditions.marked(prefix, marker)
        known: dict[str, Why | None] = {}
        for blob in page:
            if blob.job not in known:
                known[blob.job] = await _why(services, blob.job)
            why = known[blob.job]
            if why:
                yield Orphan(blob, why)
        if not marker:
            return


async def prune(services: Services, orphan: Orphan) -> bool:
    """Delete one, and the ledger's row of its job; False when it is not what it was when it was found.

    A row stays that alone knows its source's whole name: without it the job's other renditions would never be found.
    """
    if await _why(services, orphan.blob.job) is None or not await services.renditions.delete(orphan.blob):
        return False
    key = JobKey.parse(orphan.blob.job)
    entry = await services.ledger.get(key)
    if entry and not entry.is_running and source_of(key):
        await services.ledger.delete(entry)
    log.info("deleted %s: %s", orphan.blob.path, orphan.why)
    return True


async def _why(services: Services, job: str) -> Why | None:
    """Why nothing stands behind a job's renditions; None when something does, or nobody can tell."""
    try:
        key = JobKey.parse(job)
    except RecipeError:
        return None
    source = source_of(key) or await _recorded(services, key)
    if source is None:
        return None
    try:
        await services.sources.stat(*source)
    except JobSuperseded:
        return "source gone"
    except ConfigError:
        return None  # a container that is not this pipeline's
    return None if key.is_grouped or key.recipe in services.recipes.names else "recipe gone"


async def _recorded(services: Services, key: JobKey) -> tuple[str, str] | None:
    """The source of a job whose key holds but the beginning of its name."""
    entry = await services.ledger.get(key)
    return (entry.container, entry.name) if entry else None
