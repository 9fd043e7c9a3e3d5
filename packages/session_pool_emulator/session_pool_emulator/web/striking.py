"""Where faults strike: between the connection and the routes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from urllib.parse import parse_qs

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from session_pool_emulator.faults import Fault, FaultKind, FaultPlan
from session_pool_emulator.files import NoSuchFile
from session_pool_emulator.pool import Pool
from session_pool_emulator.sandbox.process import SandboxError

_MEGABYTE = 1_000_000
_SPARED = ("/.admin", "/health", "/openapi.json")


class Striking:
    """Lets the faults of the pool's plan strike; admin and health calls are spared."""

    def __init__(self, app: ASGIApp, pool: Pool) -> None:
        self._app = app
        self._pool = pool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        plan: FaultPlan = self._pool.faults
        if scope["type"] != "http" or not plan.faults or scope["path"].startswith(_SPARED) or scope["path"] == "/":
            await self._app(scope, receive, send)
            return
        strike = _Strike(self._pool, scope, receive, send)
        for fault in plan.strike(scope["method"], scope["path"]):
            self._pool.log.write("fault", fault=str(fault), path=scope["path"])
            if await strike.hit(fault):
                return
        await self._app(scope, strike.receive, strike.send)


class _Strike:
    """One call under attack."""

    def __init__(self, pool: Pool, scope: Scope, receive: Receive, send: Send) -> None:
        self._pool = pool
        self._scope = scope
        self._receive = receive
        self._send = send
        self._per_mb = 0.0
        self._truncate = False

    async def hit(self, fault: Fault) -> bool:
        """Whether the call ends with this fault."""
        if fault.kind is FaultKind.STATUS:
            await self._answer(fault)
        elif fault.kind is FaultKind.DROP:
            self._transport().abort()
        elif fault.kind is FaultKind.HANG:
            await self._hang()
        else:
            await self._impair(fault)
            return False
        return True

    async def _impair(self, fault: Fault) -> None:
        if fault.kind is FaultKind.LATENCY:
            self._per_mb += fault.per_mb
            await asyncio.sleep(fault.seconds)
        elif fault.kind is FaultKind.TRUNCATE:
            self._truncate = True
        elif fault.kind is FaultKind.KILL_KERNEL:
            self._scope.setdefault("state", {})["kill_after"] = fault.seconds
        elif fault.kind is FaultKind.REPLACE_SESSION:
            await self._pool.replace(self._identifier())
        elif fault.kind is FaultKind.LOSE_FILE:
            self._lose_file()

    async def _answer(self, fault: Fault) -> None:
        headers = {"retry-after": str(fault.retry_after)} if fault.retry_after else {}
        await Response(status_code=fault.code, headers=headers)(self._scope, self._receive, self._send)

    async def _hang(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _lose_file(self) -> None:
        """The one that the path names, else any."""
        session = self._pool.find(self._identifier())
        if session is None or not session.interpreter.done():
            return
        with suppress(NoSuchFile, SandboxError), session.files() as files:
            names = [entry.name for entry in files.entries([], recursive=False) if not entry.is_directory]
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
        """The next piece of the request, late if it has to be."""
        message = await self._receive()
        await self._wait_for(message)
        return message

    async def send(self, message: Message) -> None:
        """The next piece of the answer, late or cut short if it has to be."""
        await self._wait_for(message)
        if self._truncate and message["type"] == "http.response.body" and (body := message.get("body", b"")):
            await self._send({**message, "body": body[: len(body) // 2], "more_body": True})
            self._transport().close()
        else:
            await self._send(message)

    async def _wait_for(self, message: Message) -> None:
        if self._per_mb:
            await asyncio.sleep(self._per_mb * len(message.get("body", b"")) / _MEGABYTE)
