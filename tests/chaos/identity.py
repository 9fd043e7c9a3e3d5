"""Fault injection for the identity service: a double that fails for a time on request."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from devstack.identity.endpoint import TokenEndpoint, TokenIssuer
from functions_host.host import serving

# Lifetime of a token in seconds: many expire in a run.
LIFETIME = 40
POOL = "https://dynamicsessions.io"
# Prefix of every token: no log may contain one.
OPENING = "eyJ0eXAiOiAi"
STATUS = {"500": 500, "429": 429, "refuses": 400}


class Identity:
    """Issues short-lived tokens, unless it is told to fail: `500`, `429`, `refuses`, `slow` or `hangs`."""

    def __init__(self) -> None:
        self._header = secrets.token_hex(16)
        self._issuer = TokenIssuer(lifetime=LIFETIME)
        self._endpoint = TokenEndpoint(self._issuer, self._header)
        self._trouble, self._until = "", 0.0
        self.struck: Counter[str] = Counter()
        self.variables: dict[str, str] = {}
        self.asked = 0

    def trouble(self, what: str, seconds: float) -> None:
        """Fail in one way for a time, from now on."""
        self._trouble, self._until = what, max(self._until, time.monotonic() + seconds)

    def calm(self) -> None:
        """Stop failing."""
        self._until = 0.0

    def header(self) -> dict[str, str]:
        """Return the header with which the test authenticates to the pool."""
        return {"Authorization": f"Bearer {self._issuer.issue(POOL, None)[0]}"}

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve within the block; `variables` are the environment variables that lead to it."""
        async with serving(self, 0, grace=1) as address:
            self.variables = {"IDENTITY_ENDPOINT": f"{address}/msi/token", "IDENTITY_HEADER": self._header}
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an ASGI request."""
        self.asked += 1
        left = self._until - time.monotonic()
        if left <= 0:
            await self._endpoint(scope, receive, send)
            return
        self.struck[self._trouble] += 1
        if status := STATUS.get(self._trouble):
            await Response("{}", status, media_type="application/json")(scope, receive, send)
            return
        await asyncio.sleep(min(left, 3) if self._trouble == "slow" else left)
        await self._endpoint(scope, receive, send)
