"""Bulk: finding the jobs that are to be done, and bringing them in through the queue."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pipeline.recipes import Recipe
from pipeline.services import Services
from pipeline.storage.blobs import Listed
from pipeline.storage.keys import row_key
from pipeline.storage.ledger import Entry, Version
from pipeline.storage.queue import Message
from pipeline.telemetry import logger

log = logger(__name__)
# A row that says `queued` for longer than this has lost its message.
LOST_AFTER = timedelta(days=1)


async def reconcile(services: Services) -> int:
    """Queue every job that should be done and that nothing has brought in: the number of jobs queued.

    New and changed sources, changed recipes, and jobs whose worker died. Failures stay failures.
    """
    container, queued = services.settings.input_container, 0
    async for page in services.sources.pages(container):
        for recipe, wanted in _by_recipe(services, page):
            for one in await _due(services, recipe, wanted):
                await services.queue.send(Message(recipe=recipe.name, container=container, name=one.name))
                queued += 1
    log.info("reconciled: %d jobs queued", queued)
    return queued


def _by_recipe(services: Services, page: list[Listed]) -> list[tuple[Recipe, list[Listed]]]:
    matches = [(one, services.recipes.match(one.name, size=one.size, content_type=one.content_type)) for one in page]
    return [(recipe, [one for one, found in matches if recipe in found]) for recipe in services.recipes]


async def _due(services: Services, recipe: Recipe, wanted: list[Listed]) -> list[Listed]:
    """Those of a page of sources that have a job to be done: one range read of the ledger."""
    if not wanted:
        return []
    keys = {row_key(services.settings.input_container, one.name): one for one in wanted}
    rows = {entry.key.row: entry async for entry in services.ledger.between(recipe.name, min(keys), max(keys))}
    now = datetime.now(UTC)
    return [one for key, one in keys.items() if is_due(rows.get(key), Version(one.etag, recipe.hash), now)]


def is_due(entry: Entry | None, version: Version, now: datetime) -> bool:
    """Whether a job is to be done and nothing will bring it in by itself."""
    if entry is None or entry.version != version:
        return True
    if entry.state == "running":
        return entry.expires < now
    if entry.state == "queued":
        return entry.changed is not None and now - entry.changed > LOST_AFTER
    return entry.state == "overtaken"
