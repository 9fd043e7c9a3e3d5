"""Middleware between the connection and the routes: access log, bearer tokens, injected faults.

The access log has one line for each request. Audience and expiry of tokens are checked. Signatures are not checked,
because the emulator has no issuer.
"""

import asyncio
import base64
import binascii
import json
import time
from contextlib import closing, suppress
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from session_pool_emulator.files import SessionFileNotFoundError
from session_pool_emulator.log import AccessLog, short_hash
from session_pool_emulator.pool import Pool
from session_pool_emulator.sandbox.process import SandboxError
from session_pool_emulator.settings import Fault, FaultKind


class _ByteCounter:
    """Count the bytes of a request and of its response."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self.status = 0
        self.bytes_in = self.bytes_out = 0

    async def receive(self) -> Message:
        """Receive a message and count the bytes of its body."""
        message = await self._receive()
        self.bytes_in += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        """Send a message; note the status and count the bytes of its body."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        self.bytes_out += len(message.get("body", b""))
        await self._send(message)


class AccessLogMiddleware:
    """Log method, path, session, status, duration and transferred bytes of each request.

    A handler can add fields with `request.state.log_fields`.
    """

    def __init__(self, app: ASGIApp, log: AccessLog) -> None:
        """Wrap `app`."""
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        counter = _ByteCounter(receive, send)
        started = time.perf_counter()
        try:
            await self._app(scope, counter.receive, counter.send)
        finally:
            self._write(scope, counter, time.perf_counter() - started)

    def _write(self, scope: Scope, counter: _ByteCounter, seconds: float) -> None:
        query = parse_qs(scope["query_string"].decode("latin-1"))
        fields = {
            "method": scope["method"],
            "path": scope["path"],
            "version": query.get("api-version", [""])[0],
            "session": short_hash(query["identifier"][0]) if "identifier" in query else "",
            "status": counter.status,
            "ms": round(seconds * 1000, 1),
            "in": counter.bytes_in,
            "out": counter.bytes_out,
        }
        self._log.write("call", **fields | scope.get("state", {}).get("log_fields", {}))


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


_BYTES_PER_MB = 1_000_000
_EXCLUDED_PREFIXES = ("/.admin", "/health", "/openapi.json")


class FaultMiddleware:
    """Inject the active faults of a pool into requests, except admin, health, description and status requests."""

    def __init__(self, app: ASGIApp, pool: Pool) -> None:
        """Wrap `app`."""
        self._app = app
        self._pool = pool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request (ASGI)."""
        injector = self._pool.faults
        excluded = scope["type"] != "http" or scope["path"].startswith(_EXCLUDED_PREFIXES) or scope["path"] == "/"
        if excluded or not injector.faults:
            await self._app(scope, receive, send)
            return
        request = _FaultyRequest(self._pool, scope, receive, send)
        for fault in injector.draw(scope["method"], scope["path"]):
            self._pool.log.write("fault", fault=str(fault), path=scope["path"])
            if await request.inject(fault):
                return
        await self._app(scope, request.receive, request.send)


class _FaultyRequest:
    """Request that faults hit."""

    def __init__(self, pool: Pool, scope: Scope, receive: Receive, send: Send) -> None:
        self._pool = pool
        self._scope = scope
        self._receive = receive
        self._send = send
        self._seconds_per_mb = 0.0
        self._truncate = False

    async def inject(self, fault: Fault) -> bool:
        """Inject a fault; return whether it ends the request."""
        if fault.kind is FaultKind.STATUS:
            headers = {"retry-after": str(fault.retry_after)} if fault.retry_after else {}
            await Response(status_code=fault.code, headers=headers)(self._scope, self._receive, self._send)
        elif fault.kind is FaultKind.DROP:
            self._transport().abort()
        elif fault.kind is FaultKind.HANG:
            await self._wait_for_disconnect()
        else:
            await self._impair(fault)
            return False
        return True

    async def _impair(self, fault: Fault) -> None:
        """Inject a fault that lets the request continue."""
        if fault.kind is FaultKind.LATENCY:
            self._seconds_per_mb += fault.per_mb
            await asyncio.sleep(fault.seconds)
        elif fault.kind is FaultKind.TRUNCATE:
            self._truncate = True
        elif fault.kind is FaultKind.KILL_KERNEL:
            self._scope.setdefault("state", {})["kill_after"] = fault.seconds
        elif fault.kind is FaultKind.REPLACE_SESSION:
            await self._pool.delete(self._identifier(), event="lost")
        elif fault.kind is FaultKind.LOSE_FILE:
            self._lose_file()

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _lose_file(self) -> None:
        """Delete the file that the path names, or a random file."""
        session = self._pool.find(self._identifier())
        if session is None or not session.interpreter.done():
            return
        with suppress(SessionFileNotFoundError, SandboxError), closing(session.files()) as files:
            names = [entry.name for entry in files.list_folder([], recursive=False) if not entry.is_directory]
            named = [name for name in names if f"/{name}" in self._scope["path"]]
            if names:
                files.delete([], named[0] if named else self._pool.faults.random.choice(names))

    def _identifier(self) -> str:
        query = parse_qs(str(self._scope["query_string"], "latin-1"))
        return query.get("identifier", [""])[0]

    def _transport(self) -> asyncio.Transport:
        transport: asyncio.Transport = self._scope["state"]["transport"]
        return transport

    async def receive(self) -> Message:
        """Receive the next part of the request, after the injected latency."""
        message = await self._receive()
        await self._delay(message)
        return message

    async def send(self, message: Message) -> None:
        """Send the next part of the response, after the injected latency, or truncate it and close the connection."""
        await self._delay(message)
        if self._truncate and message["type"] == "http.response.body" and (body := message.get("body", b"")):
            await self._send({**message, "body": body[: len(body) // 2], "more_body": True})
            self._transport().close()
        else:
            await self._send(message)

    async def _delay(self, message: Message) -> None:
        if self._seconds_per_mb:
            await asyncio.sleep(self._seconds_per_mb * len(message.get("body", b"")) / _BYTES_PER_MB)
