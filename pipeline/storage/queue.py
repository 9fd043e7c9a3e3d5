"""Queues of waiting jobs: for another attempt, for a free session, or as part of a run."""

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Self

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from pydantic import Field

from pipeline.errors import Unreadable
from pipeline.storage.account import Account, error_code, ignore_existing, map_errors
from pipeline.storage.stored_model import StoredModel
from pipeline.telemetry import traceparent

# Version of the format of messages. A reader refuses a higher one.
MESSAGE_VERSION = 1
# Storage accepts 64 KiB, after the encoding in base64.
MAX_BODY_BYTES = 48 * 1024
# An unreadable message is put back with this line before its body. JSON would not hold any bytes without growing.
_UNREADABLE_MARK = b"unreadable since "


def mark_unreadable(body: bytes, since: float) -> bytes:
    """Return the body of an unreadable message, marked with the time of its first delivery (seconds since 1970)."""
    return _UNREADABLE_MARK + f"{int(since)}\n".encode() + content_of(body)


def unreadable_since(body: bytes) -> float | None:
    """Return the time in the mark of an unreadable message, or None without a mark."""
    first, _, _ = body.partition(b"\n")
    digits = first.removeprefix(_UNREADABLE_MARK)
    return float(digits) if digits != first and digits.isdigit() and len(digits) < 12 else None


def content_of(body: bytes) -> bytes:
    """Return the body of a message without the mark of an unreadable one."""
    return body if unreadable_since(body) is None else body.partition(b"\n")[2]


class QueueMessage(StoredModel, frozen=True):
    """A message; `attempt` counts the attempts used up so far.

    `service_seconds` is the time lost to faults of services since the first delivery, and `losses` the number of lost
    sessions that did not count as attempts. `deployment` is the newest deployment that has sent the message.
    `left_since` is the time, in seconds since 1970, at which an older deployment first left the message to a newer one;
    0 if none has. `changes` counts the deliveries that ended because a source kept changing.
    """

    names_job: ClassVar[tuple[str, ...]] = ()
    """The fields that name the jobs of the message."""
    version: int = Field(MESSAGE_VERSION, ge=1, le=MESSAGE_VERSION)
    deployment: int = Field(0, ge=0)
    left_since: float = Field(0, ge=0, allow_inf_nan=False)
    attempt: int = Field(0, ge=0)
    service_seconds: float = Field(0.0, ge=0, allow_inf_nan=False)
    losses: int = Field(0, ge=0)
    changes: int = Field(0, ge=0)
    traceparent: str = Field("", max_length=100, description="The W3C trace context of the sender.")

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Parse the body of a message. Raises Unreadable if this version of the app cannot read it."""
        try:
            content = json.loads(content_of(body))
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"not a {cls.noun}: {str(error)[:300]}") from None
        return cls.read(content)

    @classmethod
    def salvage(cls, body: bytes) -> Self | None:
        """Return a message with only the fields that name its jobs, from an unreadable body; None without them."""
        with suppress(ValueError, TypeError, RecursionError):
            fields = json.loads(content_of(body))
            return cls.model_validate({name: fields[name] for name in cls.names_job if name in fields})
        return None


class Message(QueueMessage):
    """A waiting job; `again` executes a job that has ended.

    `requested` is True if a request or a command has submitted the job, not an upload. `seen` is the generation that
    the sender had seen: if a later one has ended, the message is obsolete. `recovered` marks a job that the blob
    trigger gave up: when this message becomes a dead letter too, the job is a failure. `listed` is True if the job has
    a row.
    """

    noun = "job message"
    names_job = ("recipe", "container", "name")
    recipe: str = Field(max_length=100)
    container: str = Field(max_length=63)
    name: str = Field(max_length=1024)
    again: bool = False
    requested: bool = False
    seen: int | None = Field(None, ge=0)
    recovered: bool = False
    listed: bool = False


class Item(StoredModel, frozen=True):
    """A job of a run, with generation, ETag and list key of its row when the run found it; empty without a row.

    `outputs` are those of the row (see `Entry`). `compare` leaves a job alone that has ended with the same content.
    `missed` marks a job that an upload should have started, and that a scheduled run has found.
    """

    recipe: str = Field(max_length=100)
    name: str = Field(max_length=1024)
    generation: int = Field(0, ge=0)
    etag: str = Field("", max_length=200)
    listed: str = Field("", max_length=100)
    outputs: tuple[str, ...] = ()
    compare: bool = False
    missed: bool = False


class RunWork(QueueMessage):
    """A message of a run: execute the jobs of a `batch`, or, without one, find the next jobs and batch them.

    With `plan`, `run` is the id of a plan, and the message calls a process to help planning. With `resend`, it sends
    the messages of the run's unfinished batches behind the batch `after` again.

    `items` and `etag` repeat the row of a new batch, so that the worker need not read it.
    """

    noun = "run message"
    names_job = ("run", "batch")
    run: str = Field(max_length=60)
    batch: str = Field("", max_length=60)
    plan: bool = False
    resend: bool = False
    after: str = Field("", max_length=60)
    etag: str = Field("", max_length=200)
    items: list[Item] = Field(default_factory=list, max_length=100)


QUEUE_NOT_FOUND = "QueueNotFound"
# The service's limit of a delay is seven days.
MAX_DELAY_SECONDS = 7 * 24 * 3600 - 1


@dataclass(frozen=True)
class Receipt:
    """The right to change or delete a message in the queue, until the message is received."""

    message_id: str
    pop_receipt: str


class JobQueue:
    """Sends messages to a queue, with the deployment number of this process. The Functions host receives them."""

    def __init__(self, account: Account, name: str, deployment: int = 0) -> None:
        self._client = account.queue(name)
        self.name = name
        self._deployment = deployment

    async def send(self, message: Message | RunWork, delay: float = 0) -> Receipt:
        """Send a message that becomes visible after `delay` seconds. It never expires and carries the current trace."""
        return await self.requeue(self._body(message), delay)

    def _body(self, message: Message | RunWork) -> bytes:
        """Return the body of a message, with the current trace and the newest deployment that sends it."""
        sender = {
            "traceparent": traceparent() or message.traceparent,
            "deployment": max(self._deployment, message.deployment),
        }
        return message.model_copy(update=sender).model_dump_json(exclude_defaults=True).encode()

    async def requeue(self, body: bytes, delay: float) -> Receipt:
        """Send the body of a received message again, unparsed, visible after `delay` seconds.

        A queue that has been deleted is created again.
        """
        with map_errors("writing to the job queue"):
            try:
                sent = await self._send(body, delay)
            except ResourceNotFoundError as error:
                if error_code(error) != QUEUE_NOT_FOUND:
                    raise
                await self.create()
                sent = await self._send(body, delay)
            return Receipt(sent.id, sent.pop_receipt or "")

    async def _send(self, body: bytes, delay: float) -> Any:  # noqa: ANN401 - the SDK's message
        return await self._client.send_message(
            body, visibility_timeout=min(int(delay), MAX_DELAY_SECONDS), time_to_live=-1
        )

    async def replace(self, receipt: Receipt, message: Message | RunWork, delay: float) -> Receipt | None:
        """Replace a message in the queue, visible after `delay` seconds; None if it has been received or deleted."""
        with map_errors("writing to the job queue"):
            try:
                changed = await self._client.update_message(
                    receipt.message_id,
                    pop_receipt=receipt.pop_receipt,
                    content=self._body(message),
                    visibility_timeout=min(int(delay), MAX_DELAY_SECONDS),
                )
            except HttpResponseError as error:
                if not _is_received(error):
                    raise
                return None
            return Receipt(receipt.message_id, changed.pop_receipt or "")

    async def delete(self, receipt: Receipt) -> None:
        """Delete a message, unless it has been received or deleted."""
        with map_errors("writing to the job queue"):
            try:
                await self._client.delete_message(receipt.message_id, pop_receipt=receipt.pop_receipt)
            except HttpResponseError as error:
                if not _is_received(error):
                    raise

    async def create(self) -> None:
        """Create the queue unless it exists. A queue that is being deleted cannot be created yet."""
        with map_errors(f"creating the queue {self.name}"), ignore_existing():
            await self._client.create_queue()

    async def length(self, *, missing_ok: bool = False) -> int:
        """Return the number of messages: visible, delayed, or being processed. It is never too low.

        With `missing_ok`, a queue that does not exist has none.
        """
        with map_errors("reading the job queue"):
            try:
                return (await self._client.get_queue_properties()).approximate_message_count or 0
            except ResourceNotFoundError as error:
                if not missing_ok or error_code(error) != QUEUE_NOT_FOUND:
                    raise
                return 0

    async def oldest(self) -> datetime | None:
        """Return when the oldest visible message was sent, or None."""
        with map_errors("reading the job queue"):
            messages = await self._client.peek_messages()
        return min((message.inserted_on for message in messages if message.inserted_on), default=None)


def _is_received(error: HttpResponseError) -> bool:
    """Return True if a receipt is no longer valid: the message has been received or deleted, or its queue has been."""
    return error_code(error) in ("MessageNotFound", "PopReceiptMismatch", QUEUE_NOT_FOUND)
