"""Bearer tokens: checks of audience and expiry. Signatures are not checked, because the emulator has no issuer."""

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
_PUBLIC_PATHS = ("/", "/health", "/openapi.json", "/.admin/faults")


class TokenMiddleware:
    """Respond with 401 and an empty body to a request without a valid token."""

    def __init__(self, app: ASGIApp, pool: Pool) -> None:
        """Wrap `app`."""
        self._app, self._pool = app, pool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request (ASGI)."""
        if scope["type"] == "http" and scope["path"] not in _PUBLIC_PATHS and not self._accepts(Headers(scope=scope)):
            await Response(status_code=401, headers={"www-authenticate": "Bearer"})(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _accepts(self, headers: Headers) -> bool:
        """Return whether the token is valid and no `expire-tokens` fault rejects it."""
        if not has_valid_token(headers):
            return False
        valid_from = self._pool.faults.tokens_valid_from
        issued_at = (_decode_claims(headers["authorization"].partition(" ")[2]) or {}).get("iat")
        if not valid_from or (isinstance(issued_at, int | float) and issued_at >= valid_from):
            return True
        self._pool.log.write("fault", fault=FaultKind.EXPIRE_TOKENS)
        return False


def has_valid_token(headers: Headers) -> bool:
    """Return whether the Authorization header has an unexpired token for https://dynamicsessions.io."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    claims = _decode_claims(token)
    if scheme.lower() != "bearer" or claims is None:
        return False
    expires = claims.get("exp")
    return str(claims.get("aud")).rstrip("/") == AUDIENCE and isinstance(expires, int | float) and expires > time.time()


def _decode_claims(token: str) -> dict[str, object] | None:
    """Return the claims of a JSON Web Token, or None if the token is malformed."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None
