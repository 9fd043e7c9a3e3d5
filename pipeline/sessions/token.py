"""The token for the session pool: fetched once, renewed early, never logged."""

from __future__ import annotations

import asyncio
import time

from azure.core.credentials import AccessToken
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError

from pipeline.errors import PoolUnavailable

SCOPE = "https://dynamicsessions.io/.default"
EARLY = 300.0


class PoolToken:
    """One token for the process, shared by all calls."""

    def __init__(self, credential: AsyncTokenCredential) -> None:
        self._credential = credential
        self._token: AccessToken | None = None
        self._lock = asyncio.Lock()

    async def header(self) -> dict[str, str]:
        """The Authorization header. PoolUnavailable when nobody gives a token."""
        async with self._lock:
            if self._token is None or self._token.expires_on - time.time() < EARLY:
                self._token = await self._fetch()
        return {"Authorization": f"Bearer {self._token.token}"}

    def forget(self) -> None:
        """Fetch anew before the next call: the pool refused this one."""
        self._token = None

    async def _fetch(self) -> AccessToken:
        try:
            return await self._credential.get_token(SCOPE)
        except ClientAuthenticationError as error:
            raise PoolUnavailable(
                "no token for the session pool: sign in with `az login`, or give the function app a managed identity",
                kind="pool_denied",
            ) from error
        except AzureError as error:
            raise PoolUnavailable(
                f"no token for the session pool: the identity service does not answer ({type(error).__name__})"
            ) from error
