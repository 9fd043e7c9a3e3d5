"""Dead-letter handling: record every message of a poison queue as a failed job.

A message becomes a dead letter after the last of its deliveries was interrupted: the process was killed each time, or
storage did not respond.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pydantic import BaseModel, Field, ValidationError

from pipeline.errors import ConfigError, JobSuperseded, PermanentError, PipelineError, RecipeError, TransientError
from pipeline.jobs.dispatch import JobDispatcher
from pipeline.jobs.outcomes import OutcomeRecorder
from pipeline.storage import UNREADABLE_PARTITION, Entry, JobKey, JobQueue, Ledger, Message, Version
from pipeline.telemetry import logger

log = logger(__name__)
# The Functions host appends this suffix to the name of a queue.
POISON_QUEUE_SUFFIX = "-poison"
# The queue of failed blob triggers, in the storage account of the blobs.
BLOB_TRIGGER_POISON_QUEUE = "webjobs-blobtrigger-poison"


class FailedBlob(BaseModel):
    """The fields in use of the host's message about a blob whose trigger failed too often."""

    container: str = Field(alias="ContainerName")
    name: str = Field(alias="BlobName")


@dataclass(frozen=True)
class DeadLetterQueue:
    """A poison queue. Nothing is lost from it: a message that cannot be recorded now goes back into it."""

    queue: JobQueue
    ledger: Ledger
    retry_seconds: int

    async def record(self, body: bytes, record: Callable[[], Awaitable[None]]) -> None:
        """Call `record`; requeue the message on a transient error, and record an unreadable message as a failure."""
        try:
            try:
                await record()
            except (PermanentError, ConfigError) as error:
                await self._record_unreadable(body, error)
        except (TransientError, ConfigError) as error:
            log.warning(
                "the failure cannot be recorded now and is retried: %s", error, extra={"event": "dead_letter.requeued"}
            )
            await self.queue.requeue(body, self.retry_seconds)

    async def _record_unreadable(self, body: bytes, error: PipelineError) -> None:
        log.warning("unreadable message recorded as a failure: %s", error, extra={"event": "dead_letter.unreadable"})
        await self.ledger.enqueue(
            Entry(
                JobKey(UNREADABLE_PARTITION, hashlib.sha256(body).hexdigest()[:32]),
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


@dataclass(frozen=True)
class DeadLetterHandler:
    """Record the dead letters of the job queue and of the blob trigger."""

    input_container: str
    dispatcher: JobDispatcher
    outcomes: OutcomeRecorder
    jobs: DeadLetterQueue
    blobs: DeadLetterQueue

    async def handle_job_message(self, body: bytes) -> None:
        """Record the failure of a job whose message could not be delivered."""
        await self.jobs.record(body, lambda: self._record_failure(Message.parse(body)))

    async def handle_blob_message(self, body: bytes) -> None:
        """Record the failures of all jobs of an uploaded source whose event could not be delivered."""

        async def record() -> None:
            try:
                blob = FailedBlob.model_validate_json(body)
            except ValidationError as error:
                raise RecipeError(f"not a message about a blob: {str(error)[:300]}", kind="bad_message") from None
            if blob.container != self.input_container:
                log.info(
                    "%s/%s is not in the input container", blob.container, blob.name, extra={"event": "source.ignored"}
                )
                return
            try:
                recipes = await self.dispatcher.matching_recipes(blob.container, blob.name)
            except JobSuperseded as error:
                log.info("superseded: %s", error, extra={"event": "source.superseded"})
                return
            for recipe in recipes:
                await self._record_failure(Message(recipe=recipe.name, container=blob.container, name=blob.name))

        await self.blobs.record(body, record)

    async def _record_failure(self, message: Message) -> None:
        """Record a failure unless the job has ended; check again later if a worker may still hold the claim."""
        try:
            entry = await self.outcomes.record_failure(message, undeliverable())
        except JobSuperseded as error:
            log.info("superseded: %s", error, extra={"event": "job.superseded", "kind": error.kind})
            return
        if entry.is_running:
            # Its worker may be the one that was killed last. Check again after the claim has expired.
            await self.jobs.queue.send(message, self.jobs.retry_seconds)


def undeliverable() -> TransientError:
    """Return the error to record for a dead letter."""
    return TransientError(
        "every delivery of this job was interrupted: the process was killed each time, or storage did not respond",
        kind="undeliverable",
    )
