"""The queue of jobs that wait: for another attempt, for a free session, or for their turn in a run."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import RecipeError
from pipeline.storage.account import Account, map_errors
from pipeline.telemetry import traceparent


class Message(BaseModel):
    """One waiting job. `attempt` counts the tries so far; `again` asks for it although it has ended.

    `seen` is the generation that whoever asked had seen: when a later one has ended, the wish is fulfilled.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str = Field(max_length=100)
    container: str = Field(max_length=63)
    name: str = Field(max_length=1024)
    attempt: int = Field(0, ge=0)
    again: bool = False
    seen: int | None = Field(None, ge=0)
    traceparent: str = Field("", max_length=100, description="The trace that the job goes on in.")

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read a message; RecipeError when it is not one."""
        try:
            return cls.model_validate(json.loads(body))
        except (ValueError, ValidationError) as error:
            raise RecipeError(f"not a job message: {str(error)[:300]}", kind="bad_message") from None


class Item(BaseModel):
    """One job of a run, with what its row said when it was found to be due: none for a source that is new."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str = Field(max_length=100)
    name: str = Field(max_length=1024)
    generation: int = Field(0, ge=0)
    etag: str = Field("", max_length=200)
    listed: tuple[str, ...] = Field((), max_length=4)


class RunWork(BaseModel):
    """A piece of a run: the jobs of one `batch`, or, without one, finding the next jobs and making batches of them.

    `items` are the batch's jobs and `etag` its row's, where the batch is as it was made; else the row is read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str = Field(max_length=60)
    batch: str = Field("", max_length=60)
    etag: str = Field("", max_length=200)
    items: list[Item] = Field(default_factory=list, max_length=100)
    attempt: int = Field(0, ge=0)
    traceparent: str = Field("", max_length=100)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read a message; RecipeError when it is not one."""
        try:
            return cls.model_validate(json.loads(body))
        except (ValueError, ValidationError) as error:
            raise RecipeError(f"not a message of a run: {str(error)[:300]}", kind="bad_message") from None


class JobQueue:
    """Sends messages; the Functions host receives them."""

    def __init__(self, account: Account, name: str) -> None:
        self._client = account.queue(name)

    async def send(self, message: Message | RunWork, delay: float = 0) -> None:
        """Add a message that becomes visible after `delay` seconds, in the trace at hand. It never expires."""
        message = message.model_copy(update={"traceparent": traceparent() or message.traceparent})
        await self.requeue(message.model_dump_json(exclude_defaults=True).encode(), delay)

    async def requeue(self, body: bytes, delay: float) -> None:
        """Add a message as it was received, whatever it says."""
        with map_errors("writing to the job queue"):
            await self._client.send_message(
                body,
                visibility_timeout=min(int(delay), 7 * 24 * 3600 - 1),
                time_to_live=-1,
            )

    async def length(self) -> int:
        """How many messages there are, about, also those that are not visible yet."""
        with map_errors("looking at the job queue"):
            return (await self._client.get_queue_properties()).approximate_message_count or 0

    async def oldest(self) -> datetime | None:
        """When the oldest message was written whose turn it is; None when there is none."""
        with map_errors("looking at the job queue"):
            found = await self._client.peek_messages()
        return min((message.inserted_on for message in found if message.inserted_on), default=None)
