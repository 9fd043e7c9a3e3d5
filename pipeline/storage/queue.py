"""Queues of waiting jobs: for another attempt, for a free session, or as part of a run."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from pydantic import BaseModel, Field

from pipeline.errors import RecipeError
from pipeline.storage.account import Account, error_code, ignore_existing, map_errors
from pipeline.telemetry import traceparent


class QueueMessage(BaseModel, frozen=True, extra="forbid"):
    """A message; `attempt` counts the attempts so far."""

    attempt: int = Field(0, ge=0)
    traceparent: str = Field("", max_length=100, description="The W3C trace context of the sender.")

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Parse the body of a message. Raises RecipeError of kind `bad_message` if it is invalid."""
        try:
            return cls.model_validate(json.loads(body))
        except ValueError as error:
            raise RecipeError(f"not a {cls.model_config['title']}: {str(error)[:300]}", kind="bad_message") from None


class Message(QueueMessage, title="job message"):
    """A waiting job; `again` executes a job that has ended.

    `requested` is True if a request or a command has submitted the job, not an upload.
    `seen` is the generation that the sender had seen: if a later one has ended, the message is obsolete.
    """

    recipe: str = Field(max_length=100)
    container: str = Field(max_length=63)
    name: str = Field(max_length=1024)
    again: bool = False
    requested: bool = False
    seen: int | None = Field(None, ge=0)


class Item(BaseModel, frozen=True, extra="forbid"):
    """A job of a run, with generation, ETag and list keys of its row when the run found it; empty without a row."""

    recipe: str = Field(max_length=100)
    name: str = Field(max_length=1024)
    generation: int = Field(0, ge=0)
    etag: str = Field("", max_length=200)
    listed: tuple[str, ...] = Field((), max_length=4)


class RunWork(QueueMessage, title="run message"):
    """A message of a run: execute the jobs of a `batch`, or, without one, find the next jobs and batch them.

    `items` and `etag` repeat the row of a new batch, so that the worker need not read it.
    """

    run: str = Field(max_length=60)
    batch: str = Field("", max_length=60)
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
    """Sends messages to a queue. The Functions host receives them."""

    def __init__(self, account: Account, name: str) -> None:
        self._client = account.queue(name)
        self.name = name

    async def send(self, message: Message | RunWork, delay: float = 0) -> Receipt:
        """Send a message that becomes visible after `delay` seconds. It never expires and carries the current trace."""
        return await self.requeue(_body(message), delay)

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
                    content=_body(message),
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


def _body(message: Message | RunWork) -> bytes:
    """Return the body of a message, with the current trace."""
    message = message.model_copy(update={"traceparent": traceparent() or message.traceparent})
    return message.model_dump_json(exclude_defaults=True).encode()


def _is_received(error: HttpResponseError) -> bool:
    """Return True if a receipt is no longer valid: the message has been received or deleted, or its queue has been."""
    return error_code(error) in ("MessageNotFound", "PopReceiptMismatch", QUEUE_NOT_FOUND)
