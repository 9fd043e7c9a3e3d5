"""Scan containers for new blobs. The scan also replaces Event Grid where there is none. Only the leader scans.

In the first scan of a container every blob counts as new. A checkpoint records each scan: after a restart no blob is
lost and none is delivered again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.queue.aio import QueueClient

from functions_host.blob_listing import BlobLister, BlobVersion
from functions_host.blob_triggers import BlobMessage, BlobTrigger
from functions_host.queue_listener import encode_message
from functions_host.storage import StorageClients

# Last-Modified is the time at which the upload began, but a listing shows the blob only after the upload ended.
LOOKBACK = timedelta(minutes=5)


@dataclass(frozen=True)
class Checkpoint:
    """The watermark (latest Last-Modified of all listed blobs), and the blobs seen in the lookback window before it.

    Last-Modified has a resolution of one second. In the lookback window, blobs are recognized by name and ETag.
    """

    watermark: datetime | None = None
    seen: frozenset[str] = frozenset()

    def is_new(self, blob: BlobVersion) -> bool:
        """Return whether no earlier scan has listed this blob version."""
        return self.watermark is None or (self._in_lookback(blob) and _fingerprint(blob) not in self.seen)

    def advanced(self, blobs: Iterable[BlobVersion]) -> Checkpoint:
        """Return the checkpoint after a scan that listed `blobs`, the whole container."""
        blobs = list(blobs)
        times = [blob.last_modified for blob in blobs] + ([self.watermark] if self.watermark else [])
        if not times:
            return self
        moved = Checkpoint(max(times))
        return Checkpoint(moved.watermark, frozenset(_fingerprint(blob) for blob in blobs if moved._in_lookback(blob)))

    def _in_lookback(self, blob: BlobVersion) -> bool:
        return self.watermark is None or blob.last_modified >= self.watermark - LOOKBACK

    def to_json(self) -> bytes:
        """Serialize the checkpoint."""
        watermark = self.watermark.isoformat() if self.watermark else None
        return json.dumps({"watermark": watermark, "seen": sorted(self.seen)}).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Checkpoint:
        """Parse the output of `to_json`."""
        document = json.loads(text)
        watermark = document["watermark"]
        return cls(datetime.fromisoformat(watermark) if watermark else None, frozenset(document["seen"]))


def _fingerprint(blob: BlobVersion) -> str:
    return hashlib.sha256(f"{blob.etag}/{blob.name}".encode()).hexdigest()[:16]


log = logging.getLogger(__name__)
CONCURRENT_SENDS = 8
# Large containers take long to list: limit the share of time in which the scanner lists.
MAX_LISTING_TIME_SHARE = 0.2
REPEATED_WARNING_INTERVAL_SECONDS = 600.0


class BlobScanner:
    """Send a message to `queue` for each new blob and function, and then call `on_messages`.

    `interval` is the time from one scan to the next, in seconds.
    """

    def __init__(
        self,
        triggers: list[BlobTrigger],
        clients: StorageClients,
        checkpoint_folder: str,
        queue: QueueClient,
        interval: float,
        on_messages: Callable[[], None],
    ) -> None:
        key = attrgetter("function.connection", "container")
        groups = groupby(sorted(triggers, key=key), key)
        self._containers = [_ScannedContainer(list(group), clients, checkpoint_folder) for _, group in groups]
        self._queue = queue
        self._interval = interval
        self._on_messages = on_messages

    async def run(self) -> None:
        """Scan until cancelled. Begin with the stored checkpoints: another host may have scanned before."""
        for container in self._containers:
            container.checkpoint = None
        while True:
            start = time.monotonic()
            for container in self._containers:
                try:
                    await self._scan(container)
                except AzureError as error:
                    container.warn(str(error))
            duration = time.monotonic() - start
            await asyncio.sleep(max(self._interval - duration, duration / MAX_LISTING_TIME_SHARE - duration))

    async def _scan(self, container: _ScannedContainer) -> None:
        """Scan one container: send messages for new blobs, then save the checkpoint."""
        before = container.checkpoint or await container.load_checkpoint()
        blobs = await asyncio.to_thread(container.lister.list_blobs)
        messages = [message for blob in blobs if before.is_new(blob) for message in container.messages(blob)]
        for start in range(0, len(messages), CONCURRENT_SENDS):
            batch = messages[start : start + CONCURRENT_SENDS]
            await asyncio.gather(*(self._queue.send_message(encode_message(message.to_json())) for message in batch))
            self._on_messages()
        # Save last: after a crash before this line messages are sent again, and none is lost.
        await container.save_checkpoint(before, before.advanced(blobs))


class _ScannedContainer:
    """A container, its blob triggers and its checkpoint."""

    def __init__(self, triggers: list[BlobTrigger], clients: StorageClients, checkpoint_folder: str) -> None:
        connection, self.name = triggers[0].function.connection, triggers[0].container
        self.checkpoint: Checkpoint | None = None
        self._triggers = triggers
        prefix = os.path.commonprefix([trigger.prefix for trigger in triggers])  # noqa: RUF071 - of names
        account = clients.sync_blobs(connection)
        self.lister = BlobLister(account, self.name, prefix)
        self._last_warning, self._last_warning_time = "", 0.0
        self._checkpoint_blob = clients.host_blob(f"{checkpoint_folder}/{account.account_name}/{self.name}.json")

    def warn(self, reason: str) -> None:
        """Log why the scan failed; repeat the same reason only every 10 minutes."""
        now = time.monotonic()
        if reason != self._last_warning or now - self._last_warning_time > REPEATED_WARNING_INTERVAL_SECONDS:
            self._last_warning, self._last_warning_time = reason, now
            log.warning("cannot scan the container %s: %s", self.name, reason)

    def messages(self, blob: BlobVersion) -> list[BlobMessage]:
        """Return one message for each function that the blob triggers."""
        names = [trigger.function.name for trigger in self._triggers if trigger.matches(blob.name)]
        return [BlobMessage(name, self.name, blob.name, blob.etag) for name in names]

    async def load_checkpoint(self) -> Checkpoint:
        """Load the checkpoint that this or another host saved."""
        try:
            self.checkpoint = Checkpoint.from_json(await (await self._checkpoint_blob.download_blob()).readall())
        except (ResourceNotFoundError, ValueError, KeyError):
            self.checkpoint = Checkpoint()
        return self.checkpoint

    async def save_checkpoint(self, before: Checkpoint, after: Checkpoint) -> None:
        """Save the checkpoint if it changed."""
        if after != before:
            await self._checkpoint_blob.upload_blob(after.to_json(), overwrite=True)
        self.checkpoint = after
