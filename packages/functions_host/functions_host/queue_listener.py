"""Listen to a queue as Azure does: batches, visibility renewal, retries, dead letters."""

import asyncio
import base64
import binascii
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.functions.queue import QueueMessage as FunctionMessage
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient

from functions_host.functions import Function, InFlight, InvocationError, Invoker
from functions_host.settings import QueueOptions
from functions_host.storage import StorageClients, ensure_queue

log = logging.getLogger(__name__)
MIN_POLLING_INTERVAL_SECONDS = 0.1


@dataclass
class Delivery:
    """A received message. `body` is None if the content cannot be decoded. Each renewal changes the pop receipt."""

    message: QueueMessage
    body: bytes | None
    pop_receipt: str

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1: the dequeue count."""
        return self.message.dequeue_count or 1


Handler = Callable[[Delivery], Awaitable[None]]


class QueueListener:
    """Deliver the messages of one queue, at most `options.batch_size + options.new_batch_threshold` at a time.

    A message stays invisible for `visibility_timeout` seconds, renewed while its handler runs. It reappears that long
    after a crash. `handle` raises InvocationError for a failed attempt; `dead_letter` takes a message after the last.
    """

    def __init__(
        self,
        queue: QueueClient,
        options: QueueOptions,
        visibility_timeout: float,
        handle: Handler,
        dead_letter: Handler,
        inflight: InFlight,
    ) -> None:
        self._queue = queue
        self._options = options
        self._visibility_timeout = visibility_timeout
        self._handle = handle
        self._dead_letter = dead_letter
        self._inflight = inflight
        self._deliveries: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Poll now: the queue has a new message."""
        self._wake.set()

    async def run(self) -> None:
        """Receive and deliver messages until cancelled. Started deliveries continue after that."""
        delay = MIN_POLLING_INTERVAL_SECONDS
        while True:
            while len(self._deliveries) > self._options.new_batch_threshold:
                await asyncio.wait(self._deliveries, return_when=asyncio.FIRST_COMPLETED)
            self._wake.clear()
            messages = await self._receive()
            for message in messages:
                task = self._inflight.start(self._deliver(message))
                self._deliveries.add(task)
                task.add_done_callback(self._deliveries.discard)
            delay = MIN_POLLING_INTERVAL_SECONDS if messages else min(delay * 2, self._options.max_polling_interval)
            if not messages:
                await self._wait_for_poll(delay)

    async def _wait_for_poll(self, delay: float) -> None:
        """Wait for `delay` seconds, less some jitter, or until `wake` is called."""
        jittered = delay * random.uniform(0.8, 1.0)  # noqa: S311 - spreads the polls of several hosts
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), jittered)

    async def _receive(self) -> list[QueueMessage]:
        """Receive a batch of messages; none if the queue does not exist or storage fails."""
        pages = self._queue.receive_messages(
            messages_per_page=self._options.batch_size, visibility_timeout=int(self._visibility_timeout)
        ).by_page()
        try:
            return [message async for message in await anext(pages)]
        except (ResourceNotFoundError, StopAsyncIteration):
            return []  # the app creates its queues when it needs them
        except AzureError as error:
            log.warning("cannot read the queue %s: %s", self._queue.queue_name, error)
            return []

    async def _deliver(self, message: QueueMessage) -> None:
        """Deliver a message, and leave it in the queue if storage fails."""
        delivery = Delivery(message, self._decode(message.content), message.pop_receipt or "")
        try:
            await self._attempt(delivery)
        except AzureError as error:  # the message reappears: at-least-once delivery
            log.warning("cannot settle a message of the queue %s: %s", self._queue.queue_name, error)

    def _decode(self, content: str) -> bytes | None:
        try:
            return base64.b64decode(content, validate=True) if self._options.base64 else content.encode()
        except binascii.Error:
            return None

    async def _attempt(self, delivery: Delivery) -> None:
        """Handle a message once; then delete, retry or dead-letter it."""
        if not await self._succeeds(delivery):
            if delivery.body is not None and delivery.attempt < self._options.max_dequeue_count:
                await self._set_visibility(delivery, self._options.retry_delay)
                return
            log.error("dead-lettered a message of %s after %s attempts", self._queue.queue_name, delivery.attempt)
            await self._dead_letter(delivery)
        await self._queue.delete_message(delivery.message.id, pop_receipt=delivery.pop_receipt)

    async def _succeeds(self, delivery: Delivery) -> bool:
        """Handle the message, unless it is undecodable or the last allowed attempt ended with a crash."""
        if delivery.body is None or delivery.attempt > self._options.max_dequeue_count:
            return False
        try:
            async with self._renewed_visibility(delivery):
                await self._handle(delivery)
        except InvocationError:
            return False
        except asyncio.CancelledError:
            await self._set_visibility(delivery, 0)  # shutdown: another host may take the message now
            raise
        return True

    @contextlib.asynccontextmanager
    async def _renewed_visibility(self, delivery: Delivery) -> AsyncIterator[None]:
        """Renew the visibility timeout until the end of the block. Wait for an open renewal: it changes the receipt."""
        done = asyncio.Event()
        renewal = asyncio.create_task(self._renew_until(done, delivery))
        try:
            yield
        finally:
            done.set()
            await renewal

    async def _renew_until(self, done: asyncio.Event, delivery: Delivery) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), self._visibility_timeout / 3)
                return
            try:
                await self._set_visibility(delivery, self._visibility_timeout)
            except AzureError as error:
                log.warning("cannot renew a message of the queue %s: %s", self._queue.queue_name, error)

    async def _set_visibility(self, delivery: Delivery, seconds: float) -> None:
        """Make the message visible again after `seconds`."""
        updated = await self._queue.update_message(
            delivery.message.id, pop_receipt=delivery.pop_receipt, visibility_timeout=int(seconds)
        )
        delivery.pop_receipt = updated.pop_receipt or ""


async def invoke_queue_trigger(function: Function, invoke: Invoker, delivery: Delivery) -> None:
    """Invoke a function that has a queue trigger."""
    reason = f"message {delivery.message.id}, attempt {delivery.attempt}"
    await invoke(function, _argument(function, delivery), reason)


def _argument(function: Function, delivery: Delivery) -> str | bytes | FunctionMessage:
    """Convert a message to the type of the parameter."""
    body = delivery.body or b""
    if function.parameter_type is bytes:
        return body
    if function.parameter_type is str:
        return body.decode(errors="replace")
    return FunctionMessage(  # type: ignore[no-untyped-call]
        id=delivery.message.id,
        body=body,
        dequeue_count=delivery.attempt,
        expiration_time=delivery.message.expires_on,
        insertion_time=delivery.message.inserted_on,
        time_next_visible=delivery.message.next_visible_on,
        pop_receipt=delivery.message.pop_receipt,
    )


async def dead_letter(clients: StorageClients, connection: str, queue: str, delivery: Delivery) -> None:
    """Copy a message unchanged to the dead-letter queue, `<queue>-poison`."""
    client = await ensure_queue(clients, connection, f"{queue}-poison")
    await client.send_message(delivery.message.content)


def encode_message(text: str) -> str:
    """Encode a message as Azure does: base64."""
    return base64.b64encode(text.encode()).decode()
