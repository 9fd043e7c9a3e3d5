"""Bearer tokens: present, for the right audience and not expired. Signatures are not checked: there is no authority."""

from __future__ import annotations

import base64
import binascii
import json
import time

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from session_pool_emulator.faults import FaultKind
from session_pool_emulator.pool import Pool

AUDIENCE = "https://dynamicsessions.io"
_OPEN = ("/", "/health", "/openapi.json", "/.admin/faults")


class RequireToken:
    """401 with an empty body for every call that the service would not let in either."""

    def __init__(self, app: ASGIApp, pool: Pool) -> None:
        self._app, self._pool = app, pool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and scope["path"] not in _OPEN and not self._lets_in(Headers(scope=scope)):
            await Response(status_code=401, headers={"www-authenticate": "Bearer"})(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _lets_in(self, headers: Headers) -> bool:
        """Whether the token is good, and none of those that have expired before their time."""
        if not is_valid(headers):
            return False
        oldest = self._pool.faults.oldest_token
        issued = (_claims(headers["authorization"].partition(" ")[2]) or {}).get("iat")
        if not oldest or (isinstance(issued, int | float) and issued >= oldest):
            return True
        self._pool.log.write("fault", fault=FaultKind.EXPIRE_TOKENS)
        return False


def is_valid(headers: Headers) -> bool:
    """Whether `headers` carry a token for the audience of dynamic sessions that has not expired."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    claims = _claims(token)
    if scheme.lower() != "bearer" or claims is None:
        return False
    expires = claims.get("exp")
    return str(claims.get("aud")).rstrip("/") == AUDIENCE and isinstance(expires, int | float) and expires > time.time()


def _claims(token: str) -> dict[str, object] | None:
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None
