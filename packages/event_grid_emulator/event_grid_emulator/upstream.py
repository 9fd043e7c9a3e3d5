"""The emulator behind the proxy: calls go through unchanged, and what Event Grid itself needs of it."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob.aio import BlobServiceClient

from devstack.azurite import ACCOUNT, KEY
from devstack.errors import EventGridError
from devstack.event_grid.operations import Written
from devstack.event_grid.subscription import Subscription

log = logging.getLogger("event-grid")
# Shorter than the emulator keeps a quiet connection.
KEEP_ALIVE = 300


def _check(key: str) -> None:
    try:
        base64.b64decode(key, validate=True)
    except binascii.Error:
        raise EventGridError("the account's key is not one: it must be base64") from None


class Upstream:
    """The blob service of an emulator. `key` signs for the account of its name; the published one, unless told."""

    def __init__(self, address: str, account: str, key: str, calls: aiohttp.ClientSession) -> None:
        self.address, self.calls = address.rstrip("/"), calls
        credential = {"account_name": account, "account_key": key}
        self._blobs = BlobServiceClient(f"{self.address}/{account}", credential, retry_total=1)

    @classmethod
    @asynccontextmanager
    async def open(cls, address: str, account: str = ACCOUNT, key: str = KEY) -> AsyncIterator[Self]:
        """The emulator at `address`, with or without the account in it, for as long as the block lasts.

        Raises:
            EventGridError: that is no address, or the key is none.
        """
        split = urlsplit(address)
        if split.scheme not in ("http", "https") or not split.netloc:
            raise EventGridError(f"'{address}' is not the address of an emulator, such as http://127.0.0.1:10000")
        _check(key)
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE)
        async with aiohttp.ClientSession(
            connector=connector, auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None, sock_connect=10)
        ) as calls:
            opened = cls(f"{split.scheme}://{split.netloc}", account, key, calls)
            async with opened._blobs:
                yield opened

    async def length(self, written: Written) -> int | None:
        """How long the blob is, where the call did not tell; None when it is another one by now."""
        try:
            found = await self._blobs.get_blob_client(written.container, written.name).get_blob_properties()
        except AzureError:
            return None
        return found.size if found.etag.strip('"') == written.etag else None

    async def set_aside(self, subscription: Subscription, event: dict[str, Any]) -> None:
        """Write an event that was not delivered into the dead-letter container, where Azure would."""
        assert subscription.dead_letter_destination is not None  # noqa: S101 - asked before
        container = self._blobs.get_container_client(
            subscription.dead_letter_destination.properties.blob_container_name
        )
        name = f"{subscription.name.upper()}/{datetime.now(UTC):%Y/%m/%d/%H}/{uuid.uuid4()}.json"
        text = json.dumps([event], indent=1)
        try:
            try:
                await container.upload_blob(name, text)
            except ResourceNotFoundError:
                await self._made(container)
                await container.upload_blob(name, text)
        except AzureError as error:
            log.error("the dead letter %s cannot be written: %s", name, str(error).partition("\n")[0])  # noqa: TRY400

    @staticmethod
    async def _made(container: Any) -> None:  # noqa: ANN401 - a client
        try:
            await container.create_container()
        except ResourceExistsError:
            return
