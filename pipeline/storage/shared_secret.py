"""A secret that all processes share: made by the first that needs it, kept in the state container."""

from __future__ import annotations

import secrets
import time

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError

from pipeline.storage.account import Account, map_errors

SECRET_BYTES = 32
CACHE_SECONDS = 60.0


class SharedSecret:
    """Random bytes in a blob. Who deletes the blob ends everything that was sealed with them, within a minute."""

    def __init__(self, account: Account, container: str, name: str) -> None:
        self._blob = account.container(container).get_blob_client(name)
        self._value = b""
        self._read = -CACHE_SECONDS

    async def get(self) -> bytes:
        """The secret, read again when it was last read a minute ago."""
        if time.monotonic() - self._read >= CACHE_SECONDS:
            with map_errors("reading the console's secret"):
                self._value = await self._fetch() or await self._make()
            self._read = time.monotonic()
        return self._value

    async def _fetch(self) -> bytes:
        try:
            return await (await self._blob.download_blob()).readall()
        except ResourceNotFoundError as error:
            if error.error_code == "ContainerNotFound":  # type: ignore[attr-defined]
                raise
            return b""

    async def _make(self) -> bytes:
        made = secrets.token_bytes(SECRET_BYTES)
        try:
            await self._blob.upload_blob(made, overwrite=False)
        except ResourceExistsError:
            return await self._fetch()
        return made
