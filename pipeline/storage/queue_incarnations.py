"""Incarnations of queues: recognize a queue that was deleted, and perhaps created again, with the loss of its messages.

Each incarnation has a random mark in its metadata, which goes away with the queue. A document per queue in the table of
runs holds the mark that was seen last.
"""

import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

from azure.core.exceptions import ResourceNotFoundError

from pipeline.storage.account import Account, error_code, map_errors
from pipeline.storage.queue import QUEUE_NOT_FOUND, JobQueue
from pipeline.storage.run_store import Document, RunStore
from pipeline.telemetry import logger

log = logger(__name__)
MARK = "pipelineincarnation"
MAX_QUEUES = 1000


@dataclass(frozen=True)
class QueueLoss:
    """The loss of all messages that were in a queue at a time, until it is recovered.

    `progress` holds the position of the recovery. `document` is the stored version.
    """

    queue: str
    at: datetime
    progress: dict[str, str]
    document: Document

    @classmethod
    def of(cls, queue: str, document: Document) -> Self | None:
        """Read the loss from a queue's document; None if there is none, or an edit by hand has made it unreadable."""
        progress = document.content.get("progress", {})
        try:
            at = datetime.fromisoformat(document.content.get("lost_at", ""))
        except (TypeError, ValueError):
            return None
        return cls(
            queue, at if at.tzinfo else at.replace(tzinfo=UTC), progress if isinstance(progress, dict) else {}, document
        )


class QueueIncarnations:
    """Watch queues for the loss of their messages."""

    def __init__(self, account: Account, store: RunStore) -> None:
        self._account, self._store = account, store

    async def check(self, name: str, *, create: bool) -> QueueLoss | None:
        """Compare a queue with its last known incarnation. Returns the loss that is to be recovered, if any.

        A queue is marked when it is seen for the first time. With `create`, a missing queue is created again.
        """
        known = await self._store.get("queue", name)
        metadata = await self._metadata(name)
        if metadata is None and create:
            await JobQueue(self._account, name).create()
            metadata = {}
        seen = (metadata or {}).get(MARK, "")
        if known and known.content.get("mark", "") == seen and (seen or metadata is None):
            return QueueLoss.of(name, known)
        mark = seen or (secrets.token_hex(8) if metadata is not None else "")
        content: dict[str, Any] = {**(known.content if known else {}), "mark": mark}
        # A queue that was missing at the last look has lost its messages then already.
        if known and known.content.get("mark"):
            content |= {"lost_at": datetime.now(UTC).isoformat(), "progress": {}}
            log.error("the queue %s was deleted, with all its messages", name, extra={"event": "queue.lost"})
        # The document is written first: after a crash in between, the unmarked queue counts as lost once more.
        document = await self._write(name, known, content)
        if document and metadata is not None and not seen:
            with map_errors(f"marking the queue {name}"):
                await self._account.queue(name).set_queue_metadata({**metadata, MARK: mark})
        return QueueLoss.of(name, document) if document else None

    async def names(self, prefix: str) -> list[str]:
        """Return the names of all queues with a prefix: those that exist, and those that existed at an earlier look."""
        known = {name for name, _ in await self._store.page("queue", MAX_QUEUES) if name.startswith(prefix)}
        return sorted(known.union(await self._account.queue_names(prefix)))

    async def record(self, name: str) -> QueueLoss | None:
        """Record that a queue has lost its messages without a new incarnation; None if its document has changed."""
        known = await self._store.get("queue", name)
        content = {**(known.content if known else {"mark": ""}), "lost_at": datetime.now(UTC).isoformat()}
        document = await self._write(name, known, content)
        return QueueLoss.of(name, document) if document else None

    async def save(self, loss: QueueLoss) -> QueueLoss | None:
        """Store the progress of a recovery; None if another process has changed the document."""
        document = await self._write(loss.queue, loss.document, {**loss.document.content, "progress": loss.progress})
        return replace(loss, document=document) if document else None

    async def resolve(self, loss: QueueLoss) -> None:
        """End a recovery, unless the queue has been lost again."""
        await self._write(loss.queue, loss.document, {"mark": loss.document.content.get("mark", "")})

    async def _metadata(self, name: str) -> dict[str, str] | None:
        """Return the metadata of a queue, or None if it does not exist."""
        with map_errors(f"reading the queue {name}"):
            try:
                return dict((await self._account.queue(name).get_queue_properties()).metadata or {})
            except ResourceNotFoundError as error:
                if error_code(error) != QUEUE_NOT_FOUND:
                    raise
                return None

    async def _write(self, name: str, known: Document | None, content: dict[str, Any]) -> Document | None:
        if known:
            return await self._store.replace("queue", name, known, content)
        return await self._store.create("queue", name, content)
