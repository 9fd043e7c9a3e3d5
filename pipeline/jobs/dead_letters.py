"""Dead-letter handling: record the messages of the job queue's poison queue as failed jobs; queue those of uploads.

A message becomes a dead letter after the last of its deliveries was interrupted: the process was killed each time, or
storage did not respond. A dead letter of the blob trigger goes to the job queue once; if that message breaks off too,
its job is a failure.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from pydantic import BaseModel, Field, ValidationError

from pipeline.errors import ConfigError, JobSuperseded, OutdatedDeployment, PermanentError, TransientError, Unreadable
from pipeline.jobs.dispatch import JobDispatcher
from pipeline.jobs.outcomes import OutcomeRecorder
from pipeline.jobs.pauses import Pauses
from pipeline.jobs.put_back import NotProcessable, UnreadableMessages
from pipeline.jobs.retry_policy import recovery_delay
from pipeline.storage import JobQueue, Message, content_of
from pipeline.telemetry import logger

log = logger(__name__)


class FailedBlob(BaseModel):
    """The fields in use of the host's message about a blob whose trigger failed too often."""

    container: str = Field(alias="ContainerName")
    name: str = Field(alias="BlobName")


@dataclass(frozen=True)
class DeadLetterQueue:
    """A poison queue. Nothing is lost from it: a message that cannot be recorded now goes back into it."""

    queue: JobQueue
    unreadable: UnreadableMessages
    pauses: Pauses
    retry_seconds: int

    async def record(
        self, body: bytes, record: Callable[[], Awaitable[None]], fail: Callable[[NotProcessable], Awaitable[bool]]
    ) -> None:
        """Call `record`; requeue the message on a transient error.

        `fail` records the failure of the jobs of a message that only a newer deployment can process; it returns False
        if the message names none.
        """
        try:
            try:
                await self.pauses.ensure_version()
                await record()
            except (Unreadable, OutdatedDeployment) as error:
                await self.unreadable.put_back(body, error, partial(fail, error))
            except (PermanentError, ConfigError) as error:
                await self.unreadable.record(body, error)
        except (TransientError, ConfigError) as error:
            log.warning(
                "the failure cannot be recorded now and is retried: %s", error, extra={"event": "dead_letter.requeued"}
            )
            await self.queue.requeue(body, self.retry_seconds)


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

        async def record() -> None:
            await self._record_failure(Message.parse(body))

        await self.jobs.record(body, record, partial(self.outcomes.fail_message, body))

    async def handle_blob_message(self, body: bytes) -> None:
        """Queue all jobs of an uploaded source whose event could not be delivered, once, with a pause.

        The blob trigger uses up its deliveries within a second: a short outage of storage is enough.
        """

        async def record() -> None:
            try:
                blob = FailedBlob.model_validate_json(content_of(body))
            except ValidationError as error:
                raise Unreadable(f"not a message about a blob: {str(error)[:300]}") from None
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
                await self._recover(Message(recipe=recipe.name, container=blob.container, name=blob.name))

        async def names_none(_: NotProcessable) -> bool:
            return False

        await self.blobs.record(body, record, names_none)

    async def _recover(self, message: Message) -> None:
        delay = recovery_delay(self.blobs.retry_seconds)
        log.warning(
            "the blob trigger gave up %s; its job follows in %.0f s",
            message.name,
            delay,
            extra={"event": "dead_letter.recovered"},
        )
        await self.dispatcher.queue.send(message.model_copy(update={"recovered": True}), delay)

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
