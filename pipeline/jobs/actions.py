"""What people may ask of a job, over HTTP or on the command line: to be done, done once more, or let be."""

from __future__ import annotations

from collections.abc import AsyncIterator

from pipeline.errors import StateConflict
from pipeline.services import Services
from pipeline.storage.entry import Entry, State, Version
from pipeline.storage.keys import JobKey
from pipeline.storage.queue import Message
from pipeline.telemetry import logger

log = logger(__name__)
PAGE_SIZE = 200


async def get(services: Services, key: JobKey) -> Entry:
    """The row of a job; NotNow of kind `unknown_job` when there is none."""
    entry = await services.ledger.get(key)
    if entry is None:
        raise StateConflict(f"there is no job {key.id[:200]}", kind="unknown_job")
    return entry


async def submit(services: Services, message: Message, delay: float = 0) -> JobKey:
    """Queue a job, to be begun after `delay` seconds, and list it as waiting unless there is a row already.

    JobSuperseded when its source is not there; RecipeError when its recipe is not.
    """
    key = JobKey.of(message.recipe, message.container, message.name)
    version = await _version(services, message.recipe, message.container, message.name)
    await services.ledger.enqueue(Entry(key, message.container, message.name, state="queued", version=version))
    await services.job_queue.send(message, delay)
    return key


async def retry(services: Services, key: JobKey) -> Entry:
    """Have a job done once more, whatever came of it. NotNow when somebody is on it or it waits already.

    JobSuperseded when its source is not there any more, RecipeError when its recipe is not.
    """
    entry = await get(services, key)
    if entry.is_running or entry.state == "queued":
        raise StateConflict(f"job {key.id} is {entry.state} already", kind=f"job_{entry.state}")
    version = await _version(services, key.recipe, entry.container, entry.name)
    # The message comes first: a row that said `queued` without one would wait for nothing.
    asked = Message(recipe=key.recipe, container=entry.container, name=entry.name, again=True, seen=entry.generation)
    await services.job_queue.send(asked)
    return await _moved(services, entry, "queued", version)


async def retry_failures(services: Services, *, recipe: str | None = None, kind: str = "", prefix: str = "") -> int:
    """Retry every failure of a recipe, of a kind, of sources with a prefix: how many there were."""
    count = 0
    async for entry in failures(services, recipe=recipe, kind=kind, prefix=prefix):
        try:
            await retry(services, entry.key)
        except StateConflict:
            continue
        count += 1
    return count


async def failures(
    services: Services, *, recipe: str | None = None, kind: str = "", prefix: str = ""
) -> AsyncIterator[Entry]:
    """The failures that are asked for, the newest first; those that come meanwhile are left out."""
    token = ""
    while True:
        entries, token = await services.ledger.page(recipe=recipe, state="failed", limit=PAGE_SIZE, token=token)
        for entry in entries:
            if kind in ("", entry.error_kind) and entry.name.startswith(prefix):
                yield entry
        if not token:
            return


async def dismiss(services: Services, key: JobKey) -> Entry:
    """Let a failure be, or take a waiting job back: it is kept as `dismissed`. NotNow when it is done, or running."""
    entry = await get(services, key)
    if entry.state == "dismissed":
        return entry
    if entry.is_running or entry.state == "done":
        raise StateConflict(f"job {key.id} is {entry.state}: there is nothing to dismiss", kind=f"job_{entry.state}")
    return await _moved(services, entry, "dismissed", entry.version)


async def _version(services: Services, recipe: str, container: str, name: str) -> Version:
    found = await services.sources.stat(container, name)
    return Version(found.etag, (await services.recipe(recipe)).hash)


async def _moved(services: Services, entry: Entry, state: State, version: Version) -> Entry:
    """The job in its new state, or as somebody else has changed it meanwhile."""
    moved = await services.ledger.transition(entry, state, version)
    return moved or await get(services, entry.key)
