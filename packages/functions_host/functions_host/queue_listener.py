"""Reading a queue the way the platform does: in batches, hidden while running, retried, then set aside as poison."""

from __future__ import annotations

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

from devstack.host.functions import Function
from devstack.host.invoke import InvocationFailed, Invoker
from devstack.host.settings import QueueOptions
from devstack.host.storage import Accounts, ensure_queue
from devstack.host.work import Work

log = logging.getLogger("host")
FIRST_DELAY = 0.1


@dataclass
class Delivery:
    """A message that this host holds; `body` is None when it cannot be decoded.

    Its receipt changes whenever its hiding is renewed.
    """

    message: QueueMessage
    body: bytes | None
    receipt: str

    @property
    def tries(self) -> int:
        """How often it has been delivered, this time included."""
        return self.message.dequeue_count or 1


Handle = Callable[[Delivery], Awaitable[None]]
Poison = Callable[[Delivery], Awaitable[None]]


class QueueListener:
    """Delivers the messages of one queue, `options.batch_size + options.new_batch_threshold` at a time at most.

    A message is hidden for `hidden` seconds and again while it is being handled: after a crash it comes back when
    these have passed. `handle` may raise InvocationFailed; `poison` gets what failed too often.
    """

    def __init__(
        self, queue: QueueClient, options: QueueOptions, hidden: float, handle: Handle, poison: Poison, work: Work
    ) -> None:
        self._queue = queue
        self._options = options
        self._hidden = hidden
        self._handle = handle
        self._poison = poison
        self._work = work
        self._under_way: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There is a message: look now."""
        self._wake.set()

    async def run(self) -> None:
        """Fetch and deliver until cancelled; deliveries that have begun go on."""
        delay = FIRST_DELAY
        while True:
            while len(self._under_way) > self._options.new_batch_threshold:
                await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            self._wake.clear()
            messages = await self._fetch()
            for message in messages:
                task = self._work.start(self._deliver(message))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
            delay = FIRST_DELAY if messages else min(delay * 2, self._options.max_polling_interval)
            if not messages:
                await self._rest(delay)

    async def _rest(self, delay: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay * random.uniform(0.8, 1.0)):  # noqa: S311 - so that hosts do not march
                await self._wake.wait()

    async def _fetch(self) -> list[QueueMessage]:
        pages = self._queue.receive_messages(
            messages_per_page=self._options.batch_size, visibility_timeout=int(self._hidden)
        ).by_page()
        try:
            return [message async for message in await anext(pages)]
        except (ResourceNotFoundError, StopAsyncIteration):
            return []  # the app makes its queues itself, in its own time
        except AzureError as error:
            log.warning("the queue %s cannot be read: %s", self._queue.queue_name, error)
            return []

    async def _deliver(self, message: QueueMessage) -> None:
        delivery = Delivery(message, self._decoded(message.content), message.pop_receipt or "")
        try:
            await self._attempt(delivery)
        except AzureError as error:  # it comes back by itself: at least once, never lost
            log.warning("a message of %s cannot be settled: %s", self._queue.queue_name, error)

    def _decoded(self, content: str) -> bytes | None:
        try:
            return base64.b64decode(content, validate=True) if self._options.base64 else content.encode()
        except binascii.Error:
            return None

    async def _attempt(self, delivery: Delivery) -> None:
        if not await self._succeeded(delivery):
            if delivery.body is not None and delivery.tries < self._options.max_dequeue_count:
                await self._hide(delivery, self._options.retry_delay)
                return
            log.error("a message of %s is poison after %s tries", self._queue.queue_name, delivery.tries)
            await self._poison(delivery)
        await self._queue.delete_message(delivery.message.id, pop_receipt=delivery.receipt)

    async def _succeeded(self, delivery: Delivery) -> bool:
        """Handle it, unless it cannot be read or its last try already ended with a crash."""
        if delivery.body is None or delivery.tries > self._options.max_dequeue_count:
            return False
        try:
            async with self._kept_hidden(delivery):
                await self._handle(delivery)
        except InvocationFailed:
            return False
        except asyncio.CancelledError:
            await self._hide(delivery, 0)  # this host stops: another may take it at once
            raise
        return True

    @contextlib.asynccontextmanager
    async def _kept_hidden(self, delivery: Delivery) -> AsyncIterator[None]:
        """Renew until the end of the block. A renewal on its way is awaited: it changes the receipt."""
        done = asyncio.Event()
        renewal = asyncio.create_task(self._renew(delivery, done))
        try:
            yield
        finally:
            done.set()
            await renewal

    async def _renew(self, delivery: Delivery, done: asyncio.Event) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), self._hidden / 3)
                return
            try:
                await self._hide(delivery, self._hidden)
            except AzureError as error:
                log.warning("a message of %s cannot be renewed: %s", self._queue.queue_name, error)

    async def _hide(self, delivery: Delivery, seconds: float) -> None:
        shown = await self._queue.update_message(
            delivery.message.id, pop_receipt=delivery.receipt, visibility_timeout=int(seconds)
        )
        delivery.receipt = shown.pop_receipt or ""


def queue_handler(function: Function, invoke: Invoker) -> Handle:
    """Calls a function that has a queue trigger."""

    async def handle(delivery: Delivery) -> None:
        await invoke(function, _value(function, delivery), f"message {delivery.message.id}, try {delivery.tries}")

    return handle


def _value(function: Function, delivery: Delivery) -> str | bytes | FunctionMessage:
    body = delivery.body or b""
    if function.kind is bytes:
        return body
    if function.kind is str:
        return body.decode(errors="replace")
    return FunctionMessage(  # type: ignore[no-untyped-call]
        id=delivery.message.id,
        body=body,
        dequeue_count=delivery.tries,
        expiration_time=delivery.message.expires_on,
        insertion_time=delivery.message.inserted_on,
        time_next_visible=delivery.message.next_visible_on,
        pop_receipt=delivery.message.pop_receipt,
    )


class QueuePoison:
    """Puts a message as it is into `<queue>-poison`, which is made when it is first needed."""

    def __init__(self, accounts: Accounts, connection: str, queue: str) -> None:
        self._accounts = accounts
        self._connection = connection
        self._name = f"{queue}-poison"

    async def __call__(self, delivery: Delivery) -> None:
        """Set it aside."""
        await ensure_queue(self._accounts, self._connection, self._name)
        await (
            self._accounts.queues(self._connection).get_queue_client(self._name).send_message(delivery.message.content)
        )


def encode(text: str) -> str:
    """As the platform writes a message."""
    return base64.b64encode(text.encode()).decode()
