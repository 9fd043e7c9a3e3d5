"""Middleware that writes one line to the access log for each request."""

from __future__ import annotations

import time
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from session_pool_emulator.log import AccessLog, short_hash


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
