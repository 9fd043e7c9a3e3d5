"""One line in the access log per call."""

from __future__ import annotations

import time
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from session_pool_emulator.log import AccessLog, short


class AccessLogging:
    """Says what was called, by which session, what was answered, how long it took and how many bytes went each way.

    A handler can add fields with `request.state.note`.
    """

    def __init__(self, app: ASGIApp, log: AccessLog) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        counted = _Counted(receive, send)
        started = time.perf_counter()
        try:
            await self._app(scope, counted.receive, counted.send)
        finally:
            self._write(scope, counted, time.perf_counter() - started)

    def _write(self, scope: Scope, counted: _Counted, seconds: float) -> None:
        query = parse_qs(scope["query_string"].decode("latin-1"))
        fields = {
            "method": scope["method"],
            "path": scope["path"],
            "version": query.get("api-version", [""])[0],
            "session": short(query["identifier"][0]) if "identifier" in query else "",
            "status": counted.status,
            "ms": round(seconds * 1000, 1),
            "in": counted.bytes_in,
            "out": counted.bytes_out,
        }
        self._log.write("call", **fields | scope.get("state", {}).get("note", {}))


class _Counted:
    """Counts what passes."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self.status = 0
        self.bytes_in = self.bytes_out = 0

    async def receive(self) -> Message:
        message = await self._receive()
        self.bytes_in += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        self.bytes_out += len(message.get("body", b""))
        await self._send(message)
