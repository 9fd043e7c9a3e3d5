"""Bearer token cache of the session pool's client: one token per process, refreshed in the background, never logged."""

import asyncio
import time
from contextvars import Context
from math import inf

from azure.core.credentials import AccessToken

from pipeline.errors import IdentityUnavailable, PoolUnavailable
from pipeline.identity import Identity
from pipeline.telemetry import logger

log = logger(__name__)
SCOPE = "https://dynamicsessions.io/.default"
# Refresh a token in the background this many seconds before it expires; make calls wait for a new one at the second.
REFRESH_AHEAD_SECONDS, MIN_VALIDITY_SECONDS = 300.0, 10.0
# Refresh in the background, or replace a refused token, at most this often. Without the role, the pool refuses every
# token, and the identity service must not receive a request for every call.
REFRESH_INTERVAL_SECONDS = 10.0


class PoolToken:
    """Cache of the process's token. All calls share the token, and the request for a new one."""

    def __init__(self, identity: Identity) -> None:
        """Create an empty cache."""
        self._identity = identity
        self._token: AccessToken | None = None
        self._refused = False
        self._request: asyncio.Task[AccessToken] | None = None
        self._last_request = self._last_replaced = -inf

    async def header(self) -> dict[str, str]:
        """Return the Authorization header. Raises PoolUnavailable when the identity gives no token."""
        token = self._token
        left = token.expires_on - time.time() if token else 0.0
        if token is None or left < MIN_VALIDITY_SECONDS or self._must_replace:
            token = await self._get(token)
        elif left < REFRESH_AHEAD_SECONDS and time.monotonic() - self._last_request >= REFRESH_INTERVAL_SECONDS:
            self._start_request().add_done_callback(_log_failure)
        return {"Authorization": f"Bearer {token.token}"}

    def mark_refused(self, header: str) -> None:
        """Record that the pool refused this header, so that the token is replaced unless a newer one is cached."""
        if self._token and header == f"Bearer {self._token.token}":
            self._refused = True

    async def close(self) -> None:
        """Cancel the request for a token that is under way."""
        if self._request and not self._request.done():
            self._request.cancel()
            await asyncio.gather(self._request, return_exceptions=True)

    @property
    def _must_replace(self) -> bool:
        return self._refused and time.monotonic() - self._last_replaced >= REFRESH_INTERVAL_SECONDS

    async def _get(self, old: AccessToken | None) -> AccessToken:
        try:
            return await asyncio.shield(self._start_request())
        except IdentityUnavailable as error:
            # Keep a token that is still valid.
            if old and old.expires_on > time.time() and not self._refused:
                return old
            raise PoolUnavailable(
                f"session pool: {error.message}", kind=error.kind, dependency=error.dependency
            ) from error

    def _start_request(self) -> asyncio.Task[AccessToken]:
        """Return the request that is under way, or start one in an empty context: it does not belong to the job."""
        if self._request is None or self._request.done():
            self._last_request = time.monotonic()
            self._request = asyncio.create_task(self._fetch(), context=Context())
            self._request.add_done_callback(_retrieve_exception)
        return self._request

    async def _fetch(self) -> AccessToken:
        if self._must_replace:
            self._token = await self._identity.fresh_token(SCOPE)
            self._last_replaced = time.monotonic()
        else:
            self._token = await self._identity.get_token(SCOPE)
        self._refused = False
        return self._token


def _retrieve_exception(request: asyncio.Task[AccessToken]) -> None:
    """Retrieve the exception, so that asyncio does not warn when all waiting calls were cancelled."""
    if not request.cancelled():
        request.exception()


def _log_failure(request: asyncio.Task[AccessToken]) -> None:
    """Log a failed background refresh."""
    if not request.cancelled() and (error := request.exception()):
        log.warning("cannot refresh the session pool's token: %s", error, extra={"event": "token.refresh_failed"})
