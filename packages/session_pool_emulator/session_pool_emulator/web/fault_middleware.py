"""Middleware that injects faults between the connection and the routes."""

from __future__ import annotations

import asyncio
from contextlib import closing, suppress
from urllib.parse import parse_qs

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from session_pool_emulator.faults import Fault, FaultKind
from session_pool_emulator.files import SessionFileNotFoundError
from session_pool_emulator.pool import Pool
from session_pool_emulator.sandbox.process import SandboxError

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
