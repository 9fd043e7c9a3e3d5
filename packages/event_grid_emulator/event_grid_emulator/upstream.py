"""Access the storage emulator behind the proxy: forward requests, read blob lengths, write dead letters."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob.aio import BlobServiceClient

from event_grid_emulator.errors import EventGridError
from event_grid_emulator.events import BlobOperation
from event_grid_emulator.subscription import Subscription

log = logging.getLogger(__name__)
# Storage emulators keep idle connections longer than this. The client must be the one to close them.
KEEP_ALIVE_SECONDS = 300
CONNECT_TIMEOUT_SECONDS = 10


def _check_key(key: str) -> None:
    try:
        base64.b64decode(key, validate=True)
    except binascii.Error:
        raise EventGridError("the account key is invalid: it must be base64") from None


class Upstream:
    """The blob service of a storage emulator. `session` forwards requests; `key` signs the emulator's own requests."""

    def __init__(self, url: str, account: str, key: str, session: aiohttp.ClientSession) -> None:
        self.url, self.session = url.rstrip("/"), session
        credential = {"account_name": account, "account_key": key}
        self._blobs = BlobServiceClient(f"{self.url}/{account}", credential, retry_total=1)

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, account: str, key: str) -> AsyncIterator[Self]:
        """Open the emulator at `url` until the block ends. The URL may contain the account.

        Raises:
            EventGridError: The URL or the key is invalid.
        """
        split = urlsplit(url)
        if split.scheme not in ("http", "https") or not split.netloc:
            raise EventGridError(f"'{url}' is not the URL of an emulator, such as http://127.0.0.1:10000")
        _check_key(key)
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False, timeout=timeout) as session:
            upstream = cls(f"{split.scheme}://{split.netloc}", account, key, session)
            async with upstream._blobs:
                yield upstream

    async def blob_length(self, operation: BlobOperation) -> int | None:
        """Return the length of the written blob in bytes; None if it has been replaced or cannot be read."""
        try:
            client = self._blobs.get_blob_client(operation.container, operation.blob_name)
            blob = await client.get_blob_properties()
        except AzureError:
            return None
        return blob.size if blob.etag.strip('"') == operation.etag else None

    async def write_dead_letter(self, subscription: Subscription, event: dict[str, Any]) -> None:
        """Write an undelivered event to the dead-letter container, under the name that Azure uses."""
        assert subscription.dead_letter_destination is not None  # noqa: S101 - the caller checks this
        container = self._blobs.get_container_client(
            subscription.dead_letter_destination.properties.blob_container_name
        )
        name = f"{subscription.name.upper()}/{datetime.now(UTC):%Y/%m/%d/%H}/{uuid.uuid4()}.json"
        text = json.dumps([event], indent=1)
        try:
            try:
                await container.upload_blob(name, text)
            except ResourceNotFoundError:
                with suppress(ResourceExistsError):
                    await container.create_container()
                await container.upload_blob(name, text)
        except AzureError as error:
            log.error("cannot write the dead letter %s: %s", name, str(error).partition("\n")[0])  # noqa: TRY400
