"""In-memory client of a queue, and the base class of all in-memory clients."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from azure.core.async_paging import AsyncItemPaged

from pipeline.testing.store import Items


class ServiceClient:
    """Client of one container, blob, table or queue."""

    def __init__(self, clients: Any, name: str) -> None:
        self._clients, self._name = clients, name

    async def _call(self, operation: str, *arguments: Any) -> Any:
        return await self._clients.call((operation, self._name, *arguments))


async def cursor_and_items(page: tuple[Any, list[Any]]) -> Any:
    """Return the cursor and the items of a page, for the SDK's paging."""
    return page


def items_of(metadata: dict[str, str] | None) -> Items:
    """Return metadata as a sorted tuple."""
    return tuple(sorted((metadata or {}).items()))


class Queue(ServiceClient):
    """In-memory QueueClient."""

    async def create_queue(self) -> None:
        """Create the queue."""
        await self._call("place.create", "Queue")

    async def delete_queue(self) -> None:
        """Delete the queue with its messages and its metadata."""
        await self._call("place.delete", "Queue")

    async def send_message(self, content: bytes, visibility_timeout: int = 0, time_to_live: int = -1) -> Any:
        """Send a message that becomes visible after the timeout in seconds. Returns it with its receipt."""
        return _message(await self._call("queue.send", content, visibility_timeout))

    async def update_message(self, message: str, pop_receipt: str, content: bytes, visibility_timeout: int = 0) -> Any:
        """Replace the content of a message, and hide it for the timeout in seconds. Returns it with its new receipt."""
        return _message(await self._call("queue.update", int(message), pop_receipt, content, visibility_timeout))

    async def peek_messages(self, max_messages: int = 1) -> list[Any]:
        """Return visible messages without hiding them."""
        return [_message(each) for each in await self._call("queue.peek", max_messages)]

    def receive_messages(self, messages_per_page: int = 1, visibility_timeout: int = 30) -> AsyncItemPaged[Any]:
        """Receive messages and hide them for the timeout in seconds."""

        async def page(_: Any) -> tuple[Any, list[Any]]:
            received = await self._call("queue.receive", messages_per_page, visibility_timeout)
            return bool(received) or None, list(map(_message, received))

        return AsyncItemPaged(page, cursor_and_items)

    async def delete_message(self, message: Any, pop_receipt: str = "") -> None:
        """Delete a message, or the message with an id, by its last receipt."""
        number, receipt = (message, pop_receipt) if isinstance(message, str) else (message.id, message.pop_receipt)
        await self._call("queue.delete", int(number), receipt)

    async def get_queue_properties(self) -> Any:
        """Return the approximate number of messages, and the metadata."""
        count, metadata = await self._call("queue.properties")
        return SimpleNamespace(name=self._name, approximate_message_count=count, metadata=dict(metadata))

    async def set_queue_metadata(self, metadata: dict[str, str]) -> None:
        """Replace the metadata."""
        await self._call("queue.metadata", items_of(metadata))


def _message(message: Any) -> Any:
    return SimpleNamespace(
        id=str(message.number),
        content=message.body,
        inserted_on=datetime.fromtimestamp(message.inserted, UTC),
        dequeue_count=message.deliveries,
        pop_receipt=message.receipt,
    )
