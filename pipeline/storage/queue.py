"""Queues of waiting jobs: for another attempt, for a free session, or as part of a run."""

import json
from datetime import datetime
from typing import Self

from pydantic import BaseModel, Field

from pipeline.errors import RecipeError
from pipeline.storage.account import Account, map_errors
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

    `seen` is the generation that the sender had seen: if a later one has ended, the message is obsolete.
    """

    recipe: str = Field(max_length=100)
    container: str = Field(max_length=63)
    name: str = Field(max_length=1024)
    again: bool = False
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


class JobQueue:
    """Sends messages to a queue. The Functions host receives them."""

    def __init__(self, account: Account, name: str) -> None:
        self._client = account.queue(name)

    async def send(self, message: Message | RunWork, delay: float = 0) -> None:
        """Send a message that becomes visible after `delay` seconds. It never expires and carries the current trace."""
        message = message.model_copy(update={"traceparent": traceparent() or message.traceparent})
        await self.requeue(message.model_dump_json(exclude_defaults=True).encode(), delay)

    async def requeue(self, body: bytes, delay: float) -> None:
        """Send the body of a received message again, unparsed, visible after `delay` seconds."""
        with map_errors("writing to the job queue"):
            await self._client.send_message(
                body,
                visibility_timeout=min(int(delay), 7 * 24 * 3600 - 1),
                time_to_live=-1,
            )

    async def length(self) -> int:
        """Return the approximate number of messages, those that are not visible yet included."""
        with map_errors("reading the job queue"):
            return (await self._client.get_queue_properties()).approximate_message_count or 0

    async def oldest(self) -> datetime | None:
        """Return when the oldest visible message was sent, or None."""
        with map_errors("reading the job queue"):
            messages = await self._client.peek_messages()
        return min((message.inserted_on for message in messages if message.inserted_on), default=None)
