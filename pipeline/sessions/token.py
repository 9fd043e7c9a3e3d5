"""The token for the session pool: fetched once, renewed early, never logged."""

from __future__ import annotations

import asyncio
import time

from azure.core.credentials import AccessToken

from pipeline.errors import IdentityUnavailable, PoolUnavailable
from pipeline.identity import Identity

SCOPE = "https://dynamicsessions.io/.default"
EARLY = 300.0


class PoolToken:
    """One token for the process, shared by all calls."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
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
            return await self._identity.get_token(SCOPE)
        except IdentityUnavailable as error:
            # A token that is still good is better than none.
            if self._token and self._token.expires_on > time.time():
                return self._token
            raise PoolUnavailable(f"session pool: {error.message}", kind=error.kind) from error
