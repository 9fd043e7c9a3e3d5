"""Queue the jobs of dead-lettered events: uploads of which Event Grid could not tell the app.

Event Grid gives up an event at once when the app refuses it, for example during a cold start or a change of its key.
"""

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.concurrency import gather_or_cancel
from pipeline.errors import JobSuperseded, PermanentError, SourceError, StorageNotFound, TransientError
from pipeline.jobs.dispatch import JobDispatcher
from pipeline.settings import MIB
from pipeline.storage import DeadLetterBlob, DeadLetterContainer, JobQueue, Message
from pipeline.telemetry import logger

log = logger(__name__)
BLOB_CREATED = "Microsoft.Storage.BlobCreated"
# The timer's function ends well before the next one starts; the rest follows then.
TIME_BUDGET_SECONDS = 200.0
MAX_CONCURRENT_BLOBS = 16
# An event has at most 1 MiB, and Event Grid writes few of them into one blob.
MAX_BLOB_BYTES = 32 * MIB
MAX_NAME_LENGTH = 1024
# A blob with an event that storage refuses to look into is tried again in each pass for this long, then kept aside.
POSTPONED_FOR = timedelta(days=1)


@dataclass(frozen=True)
class Recovered:
    """What one pass has done: blobs and events that are queued, their jobs, and blobs that are kept aside."""

    blobs: int = 0
    events: int = 0
    jobs: int = 0
    kept: int = 0

    def __add__(self, other: "Recovered") -> "Recovered":
        """Return the sum of both."""
        return Recovered(
            self.blobs + other.blobs, self.events + other.events, self.jobs + other.jobs, self.kept + other.kept
        )


@dataclass(frozen=True)
class DeadLetteredEventReader:
    """Turn the dead-lettered events of one subscription into messages of the job queue.

    Events of other subscriptions stay untouched. A blob with anything else than new blobs of the input container is
    kept aside after its other events are queued. A blob that storage refuses to delete, or an event whose source it
    refuses, is left for a later pass, and stops no other. `queued` holds the events of such blobs that this process has
    queued, by the blob's name. A crash in between queues events twice, which does no harm.
    """

    input_container: str
    subscription: str
    container: DeadLetterContainer
    dispatcher: JobDispatcher
    queue: JobQueue
    reported: set[str] = field(default_factory=set)
    queued: dict[str, set[int]] = field(default_factory=dict)

    async def requeue(self) -> Recovered:
        """Process the blobs of the container, for a bounded time.

        Raises:
            TransientError: Storage is unavailable; the next pass continues.
        """
        deadline, total = time.monotonic() + TIME_BUDGET_SECONDS, Recovered()
        async for chunk in self._chunks():
            for each in await gather_or_cancel(*map(self._process, chunk)):
                total += each
            if time.monotonic() > deadline:
                break
        if total.blobs:
            log.warning(
                "%d dead-lettered events are queued as %d jobs; see the alert on DeadLetteredCount for the reason",
                total.events,
                total.jobs,
                extra={"event": "dead_letter.events_queued"},
            )
        return total

    async def _chunks(self) -> AsyncIterator[list[DeadLetterBlob]]:
        """Yield the blobs of the subscription in chunks; none if the container does not exist."""
        chunk: list[DeadLetterBlob] = []
        try:
            async for blob in self.container.pending():
                if not blob.is_of(self.subscription):
                    self._report_foreign(blob)
                    continue
                chunk.append(blob)
                if len(chunk) == MAX_CONCURRENT_BLOBS:
                    yield chunk
                    chunk = []
        except StorageNotFound:
            pass  # there is no dead-letter container
        if chunk:
            yield chunk

    def _report_foreign(self, blob: DeadLetterBlob) -> None:
        """Log a subscription other than the app's, once per process."""
        folder = blob.name.partition("/")[0]
        if folder not in self.reported:
            self.reported.add(folder)
            log.info(
                "the dead-lettered events of the subscription %s are left alone; the app's is %s",
                folder,
                self.subscription,
                extra={"event": "dead_letter.foreign"},
            )

    async def _process(self, blob: DeadLetterBlob) -> Recovered:
        """Queue the jobs of a blob's events, then delete the blob, or keep it aside.

        Raises TransientError for a service fault only.
        """
        counts = Recovered()
        try:
            if blob.size > MAX_BLOB_BYTES:
                return await self._keep(blob, f"more than {MAX_BLOB_BYTES} bytes")
            content = await self.container.read(blob)
            if content is None:
                return counts
            try:
                events = _parse(content)
            except ValueError as error:
                return await self._keep(blob, f"not a list of events: {error}")
            counts, refused = await self._queue_events(blob, events)
            if refused is None:
                await self.container.delete(blob)
                counts += Recovered(blobs=1)
            elif isinstance(refused, PermanentError) or datetime.now(UTC) - blob.written > POSTPONED_FOR:
                counts += Recovered(blobs=1) + await self._keep(blob, refused.message)
            else:
                raise refused
            self.queued.pop(blob.name, None)
        except (PermanentError, TransientError) as error:
            if isinstance(error, TransientError) and error.service:
                raise
            log.warning("%s waits for a later pass: %s", blob.name, error, extra={"event": "dead_letter.postponed"})
        return counts

    async def _queue_events(
        self, blob: DeadLetterBlob, events: list[dict[str, Any]]
    ) -> tuple[Recovered, PermanentError | TransientError | None]:
        """Queue the jobs of those events that this process has not queued.

        Returns:
            The counts, and the reason why events are left: a TransientError if a later pass may queue them.

        Raises:
            TransientError: Storage is unavailable.
        """
        counts = Recovered()
        refused: PermanentError | TransientError | None = None
        queued = self.queued.setdefault(blob.name, set())
        for number, event in enumerate(events):
            if number in queued:
                continue
            try:
                jobs = await self._queue_jobs(self._blob_name(event))
            except PermanentError as error:
                refused = refused or error
            except TransientError as error:
                if error.service:
                    raise
                refused = error
            else:
                queued.add(number)
                counts += Recovered(events=1, jobs=jobs)
        return counts, refused

    def _blob_name(self, event: dict[str, Any]) -> str:
        """Return the name of the new blob. Raises SourceError if the event is about anything else."""
        start = f"/blobServices/default/containers/{self.input_container}/blobs/"
        # An event has Event Grid's schema or is a CloudEvent.
        event_type, subject = event.get("eventType") or event.get("type"), str(event.get("subject"))
        name = subject.removeprefix(start)
        if event_type != BLOB_CREATED or name == subject or not 0 < len(name) <= MAX_NAME_LENGTH:
            raise SourceError(f"not a new blob of {self.input_container}: {event_type} {subject}")
        return name

    async def _queue_jobs(self, name: str) -> int:
        """Queue the jobs of all recipes that match a source. Returns their number."""
        try:
            recipes = await self.dispatcher.matching_recipes(self.input_container, name)
        except JobSuperseded as error:
            log.info("superseded: %s", error, extra={"event": "source.superseded"})
            return 0
        for recipe in recipes:
            await self.queue.send(Message(recipe=recipe.name, container=self.input_container, name=name))
        return len(recipes)

    async def _keep(self, blob: DeadLetterBlob, reason: str) -> Recovered:
        log.error("kept aside in %s: %s", blob.name, reason, extra={"event": "dead_letter.kept"})
        await self.container.keep(blob, reason)
        return Recovered(kept=1)


def _parse(content: bytes) -> list[dict[str, Any]]:
    """Parse the events of a blob. Raises ValueError if it holds anything else."""
    try:
        document = json.loads(content)
    except RecursionError:
        raise ValueError("too deeply nested") from None
    events = document if isinstance(document, list) else [document]
    if not events or not all(isinstance(event, dict) for event in events):
        raise ValueError("no JSON objects")
    return events
