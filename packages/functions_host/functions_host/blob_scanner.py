"""The scan for new blobs, also in place of Event Grid where there is none. One host of an app at a time does it.

Every blob that is there when a container is first scanned counts as new.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from itertools import groupby
from operator import attrgetter

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.queue.aio import QueueClient

from devstack.host.blobs import BlobTrigger, Message
from devstack.host.checkpoint import Checkpoint
from devstack.host.listing import Listed, Listing
from devstack.host.queues import encode
from devstack.host.storage import Accounts

log = logging.getLogger("host")
AT_ONCE = 8
# Listing a large container takes a while: it may take this share of the time at most.
SHARE = 0.2
# Seconds until a trouble that goes on is told again.
REMIND = 600.0


class Scanner:
    """Puts a message into `queue` for each new blob and function, `interval` seconds apart, and then calls `found`."""

    def __init__(
        self,
        triggers: list[BlobTrigger],
        accounts: Accounts,
        folder: str,
        queue: QueueClient,
        interval: float,
        found: Callable[[], None],
    ) -> None:
        self._containers = [_Container(list(group), accounts, folder) for group in _by_container(triggers)]
        self._queue = queue
        self._interval = interval
        self._found = found

    async def run(self) -> None:
        """Scan until cancelled. What another host scanned before is read from the checkpoints."""
        for container in self._containers:
            container.checkpoint = None
        while True:
            start = time.monotonic()
            for container in self._containers:
                try:
                    await self._scan(container)
                except AzureError as error:
                    container.trouble(str(error))
            took = time.monotonic() - start
            await asyncio.sleep(max(self._interval - took, took / SHARE - took))

    async def _scan(self, container: _Container) -> None:
        before = container.checkpoint or await container.load()
        blobs = await asyncio.to_thread(container.listing.blobs)
        messages = [message for blob in blobs if before.is_new(blob) for message in container.messages(blob)]
        for start in range(0, len(messages), AT_ONCE):
            sent = (self._queue.send_message(encode(message.dump())) for message in messages[start : start + AT_ONCE])
            await asyncio.gather(*sent)
            self._found()
        # Only now: a crash before this line delivers twice, and never not at all.
        await container.save(before, before.after(blobs))


class _Container:
    """One container, the triggers on it, and what has been seen of it."""

    def __init__(self, triggers: list[BlobTrigger], accounts: Accounts, folder: str) -> None:
        connection, self.name = triggers[0].function.connection, triggers[0].container
        self.checkpoint: Checkpoint | None = None
        self._triggers = triggers
        prefix = os.path.commonprefix([trigger.prefix for trigger in triggers])  # noqa: RUF071 - of names
        account = accounts.sync_blobs(connection)
        self.listing = Listing(account, self.name, prefix)
        self._trouble, self._told = "", 0.0
        self._blob = accounts.state(f"{folder}/{account.account_name}/{self.name}.json")

    def trouble(self, what: str) -> None:
        """Say why it cannot be scanned, but the same only once in a while."""
        now = time.monotonic()
        if what != self._trouble or now - self._told > REMIND:
            self._trouble, self._told = what, now
            log.warning("the container %s cannot be scanned: %s", self.name, what)

    def messages(self, blob: Listed) -> list[Message]:
        """One for each function that the blob triggers."""
        triggered = [trigger.function.name for trigger in self._triggers if trigger.matches(blob.name)]
        return [Message(name, self.name, blob.name, blob.etag) for name in triggered]

    async def load(self) -> Checkpoint:
        """What has been seen, by whichever host."""
        try:
            self.checkpoint = Checkpoint.load(await (await self._blob.download_blob()).readall())
        except (ResourceNotFoundError, ValueError, KeyError):
            self.checkpoint = Checkpoint()
        return self.checkpoint

    async def save(self, before: Checkpoint, after: Checkpoint) -> None:
        """Remember what has been seen, when that changed."""
        if after != before:
            await self._blob.upload_blob(after.dump(), overwrite=True)
        self.checkpoint = after


def _by_container(triggers: list[BlobTrigger]) -> list[list[BlobTrigger]]:
    key = attrgetter("function.connection", "container")
    return [list(group) for _, group in groupby(sorted(triggers, key=key), key)]
