"""The token for the session pool: one for all calls, renewed early and beside them, never logged."""

from __future__ import annotations

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
# With less than this many seconds left a token is renewed while it serves; with less than that, calls wait for it.
EARLY, LATE = 300.0, 10.0
# The least seconds between two renewals that no call waits for, and between two of tokens that the pool refuses: where
# a role is missing, every token is refused, and the identity service is not to be asked for one with every call.
PAUSE = 10.0


class PoolToken:
    """One token for the process, shared by all calls, and so is the wait for it where the identity service is slow."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._token: AccessToken | None = None
        self._refused = False
        self._asking: asyncio.Task[AccessToken] | None = None
        self._asked = self._replaced = -inf

    async def header(self) -> dict[str, str]:
        """The Authorization header. PoolUnavailable when nobody gives a token."""
        token = self._token
        left = token.expires_on - time.time() if token else 0.0
        if token is None or left < LATE or self._to_be_replaced:
            token = await self._new(token)
        elif left < EARLY and time.monotonic() - self._asked >= PAUSE:
            self._ask().add_done_callback(_said)
        return {"Authorization": f"Bearer {token.token}"}

    def refused(self, header: str) -> None:
        """The pool does not let calls with this header in: they need another, unless there is another already."""
        if self._token and header == f"Bearer {self._token.token}":
            self._refused = True

    async def close(self) -> None:
        """Wait for no token any more."""
        if self._asking and not self._asking.done():
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    @property
    def _to_be_replaced(self) -> bool:
        return self._refused and time.monotonic() - self._replaced >= PAUSE

    async def _new(self, old: AccessToken | None) -> AccessToken:
        try:
            return await asyncio.shield(self._ask())
        except IdentityUnavailable as error:
            # A token that is still good is better than none.
            if old and old.expires_on > time.time() and not self._refused:
                return old
            raise PoolUnavailable(f"session pool: {error.message}", kind=error.kind) from error

    def _ask(self) -> asyncio.Task[AccessToken]:
        """The one question that is under way, in a context of its own: it is not about the job that needs the token."""
        if self._asking is None or self._asking.done():
            self._asked = time.monotonic()
            self._asking = asyncio.create_task(self._fetch(), context=Context())
            self._asking.add_done_callback(_heard)
        return self._asking

    async def _fetch(self) -> AccessToken:
        if self._to_be_replaced:
            self._token = await self._identity.renewed(SCOPE)
            self._replaced = time.monotonic()
        else:
            self._token = await self._identity.get_token(SCOPE)
        self._refused = False
        return self._token


def _heard(asking: asyncio.Task[AccessToken]) -> None:
    """Whoever waited may have given up: that its answer is an error is nobody's mistake."""
    if not asking.cancelled():
        asking.exception()


def _said(asking: asyncio.Task[AccessToken]) -> None:
    """Say what came of a question that nobody waits for."""
    if not asking.cancelled() and (error := asking.exception()):
        log.warning("no new token for the session pool: %s", error)
