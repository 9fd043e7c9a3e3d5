"""What the platform gave up delivering becomes a failure in the ledger: nothing is only in a poison queue.

A message gets there when every delivery of it broke off: the process was killed each time, or storage did not answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

from pydantic import BaseModel, Field, ValidationError

from pipeline.deliveries import give_up, matching
from pipeline.errors import JobOvertaken, RecipeError, TransientError
from pipeline.runs import stop
from pipeline.services import Services
from pipeline.storage.entry import UNREADABLE, Entry, Version
from pipeline.storage.keys import JobKey
from pipeline.storage.queue import JobQueue, Message, RunWork
from pipeline.storage.runtable import Outcome
from pipeline.telemetry import logger

log = logger(__name__)
SUFFIX = "-poison"
# Where the platform puts what a blob trigger failed with, in the account of the blob.
DROPS = "webjobs-blobtrigger-poison"


class Dropped(BaseModel):
    """What the platform writes of a blob whose trigger failed too often, as far as it is needed."""

    container: str = Field(alias="ContainerName")
    name: str = Field(alias="BlobName")


async def job(services: Services, body: bytes) -> None:
    """A message of the queue of jobs."""

    async def record() -> None:
        await _fail(services, Message.parse(body))

    await _readable(services, body, record)


async def drop(services: Services, body: bytes) -> None:
    """A new source that the blob trigger was told about."""

    async def record() -> None:
        try:
            dropped = Dropped.model_validate_json(body)
        except ValidationError as error:
            raise RecipeError(f"not a message about a blob: {str(error)[:300]}", kind="bad_message") from None
        for recipe in await matching(services, dropped.container, dropped.name):
            await _fail(services, Message(recipe=recipe.name, container=dropped.container, name=dropped.name))

    await _readable(services, body, record)


async def run_work(services: Services, body: bytes) -> None:
    """A piece of a run: the jobs of a batch that have not ended fail; a run that cannot find its jobs stops."""

    async def record() -> None:
        work = RunWork.parse(body)
        if not work.batch:
            await stop(services, work.run, "finding its jobs broke off each time; the log says why; resume it")
            return
        batch = await services.run_table.batch(work.run, work.batch)
        outcomes: dict[int, Outcome] = {}
        for place in batch.left if batch else []:
            item = batch.items[place] if batch else None
            if item and await _fail(services, _message(services, item.recipe, item.name, item.generation), work.run):
                outcomes[place] = "failed"
        if batch and outcomes:
            await services.run_table.settle(batch, outcomes)

    await _readable(services, body, record)


def _message(services: Services, recipe: str, name: str, generation: int) -> Message:
    container = services.settings.input_container
    return Message(recipe=recipe, container=container, name=name, again=True, seen=generation)


async def _fail(services: Services, message: Message, run: str = "") -> bool:
    """Record a job's failure, unless it has ended; looked at again where somebody may still be on it."""
    told = TransientError(
        "every delivery of this job broke off: the process was ended each time, or storage did not answer",
        kind="undeliverable",
    )
    try:
        entry = await give_up(services, message, told, run)
    except JobOvertaken as error:
        log.info("nothing to record: %s", error)
        return False
    if entry.is_running:
        # Its worker may be the one that was killed last.
        queue = JobQueue(services.account, services.settings.queue + SUFFIX)
        await queue.send(message, services.settings.claim_seconds)
    return entry.state == "failed"


async def _readable(services: Services, body: bytes, record: Callable[[], Awaitable[None]]) -> None:
    """Record, or keep a message that says nothing as a failure of its own."""
    try:
        await record()
    except RecipeError as error:
        digest = hashlib.sha256(body).hexdigest()[:32]
        text = body[:500].decode(errors="replace")
        log.warning("a message that cannot be used is kept as a failure: %s", error)
        await services.ledger.enqueue(
            Entry(
                JobKey(UNREADABLE, digest),
                container="",
                name=text,
                state="failed",
                version=Version("", ""),
                error_kind=error.kind,
                error_class=type(error).__name__,
                error_message=error.message,
                stage="queue",
            )
        )
