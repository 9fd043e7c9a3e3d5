"""What the platform gave up delivering becomes a failure in the ledger: nothing is only in a poison queue.

A message gets there when every delivery of it broke off: the process was killed each time, or storage did not answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

from pydantic import BaseModel, Field, ValidationError

from pipeline.errors import ConfigError, JobSuperseded, PermanentError, PipelineError, RecipeError, TransientError
from pipeline.jobs.dispatch import matching_recipes, record_failure
from pipeline.services import Services
from pipeline.storage.entry import UNREADABLE, Entry, Version
from pipeline.storage.keys import JobKey
from pipeline.storage.queue import JobQueue, Message
from pipeline.telemetry import logger

log = logger(__name__)
POISON_QUEUE_SUFFIX = "-poison"
# Where the platform puts what a blob trigger failed with, in the account of the blob.
BLOB_TRIGGER_POISON_QUEUE = "webjobs-blobtrigger-poison"


class FailedBlob(BaseModel):
    """What the platform writes of a blob whose trigger failed too often, as far as it is needed."""

    container: str = Field(alias="ContainerName")
    name: str = Field(alias="BlobName")


async def handle_job_message(services: Services, body: bytes) -> None:
    """A message of the queue of jobs."""

    async def record() -> None:
        await _fail(services, Message.parse(body))

    await record_or_requeue(services, services.settings.job_queue + POISON_QUEUE_SUFFIX, body, record)


async def handle_blob_message(services: Services, body: bytes) -> None:
    """A new source that the blob trigger was told about."""

    async def record() -> None:
        try:
            dropped = FailedBlob.model_validate_json(body)
        except ValidationError as error:
            raise RecipeError(f"not a message about a blob: {str(error)[:300]}", kind="bad_message") from None
        if dropped.container != services.settings.input_container:
            log.info("nothing to record: %s/%s is no source", dropped.container, dropped.name)
            return
        try:
            recipes = await matching_recipes(services, dropped.container, dropped.name)
        except JobSuperseded as error:
            log.info("nothing to record: %s", error)
            return
        for recipe in recipes:
            await _fail(services, Message(recipe=recipe.name, container=dropped.container, name=dropped.name))

    await record_or_requeue(services, BLOB_TRIGGER_POISON_QUEUE, body, record)


def undeliverable() -> TransientError:
    return TransientError(
        "every delivery of this job broke off: the process was ended each time, or storage did not answer",
        kind="undeliverable",
    )


async def _fail(services: Services, message: Message) -> None:
    """Record a job's failure, unless it has ended; looked at again where somebody may still be on it."""
    try:
        entry = await record_failure(services, message, undeliverable())
    except JobSuperseded as error:
        log.info("nothing to record: %s", error)
        return
    if entry.is_running:
        # Its worker may be the one that was killed last.
        queue = JobQueue(services.account, services.settings.job_queue + POISON_QUEUE_SUFFIX)
        await queue.send(message, services.settings.claim_ttl)


async def record_or_requeue(services: Services, queue: str, body: bytes, record: Callable[[], Awaitable[None]]) -> None:
    """Record it. What cannot be recorded now goes back into its queue: behind that one there is no other."""
    try:
        try:
            await record()
        except (PermanentError, ConfigError) as error:
            await _keep(services, body, error)
    except (TransientError, ConfigError) as error:
        log.warning("a failure cannot be recorded now, and is tried again: %s", error)
        await JobQueue(services.account, queue).requeue(body, services.settings.claim_ttl)


async def _keep(services: Services, body: bytes, error: PipelineError) -> None:
    """A message that cannot be used is a failure of its own."""
    log.warning("a message that cannot be used is kept as a failure: %s", error)
    await services.ledger.enqueue(
        Entry(
            JobKey(UNREADABLE, hashlib.sha256(body).hexdigest()[:32]),
            container="",
            name=body[:500].decode(errors="replace"),
            state="failed",
            version=Version("", ""),
            error_kind=error.kind,
            error_class=type(error).__name__,
            error_message=error.message,
            stage="queue",
        )
    )
