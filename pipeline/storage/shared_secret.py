"""Secret shared by all processes, in the state container; the first process that needs it generates it."""

import secrets
import time

from azure.core.exceptions import ResourceExistsError

from pipeline.storage.account import Account, IgnoreMissing, already_exists, map_errors

SECRET_BYTES = 32
CACHE_SECONDS = 60.0


class SharedSecret:
    """Random bytes in a blob, cached for a minute. Deleting the blob invalidates all signed cookies within a minute."""

    def __init__(self, account: Account, container: str, name: str) -> None:
        self._blob = account.container(container).get_blob_client(name)
        self._value = b""
        self._read = -CACHE_SECONDS

    async def get(self) -> bytes:
        """Return the secret, from the cache or from the blob."""
        if time.monotonic() - self._read >= CACHE_SECONDS:
            with map_errors("reading the console's secret"):
                self._value = await self._fetch() or await self._generate()
            self._read = time.monotonic()
        return self._value

    async def _fetch(self) -> bytes:
        with IgnoreMissing():
            return await (await self._blob.download_blob()).readall()
        return b""

    async def _generate(self) -> bytes:
        secret = secrets.token_bytes(SECRET_BYTES)
        try:
            await self._blob.upload_blob(secret, overwrite=False)
        except ResourceExistsError as error:
            if not already_exists(error):
                raise
            return await self._fetch()
        return secret
