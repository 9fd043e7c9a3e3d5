"""Fault injection for storage: a proxy in front of each service of the emulator, which harms the next requests."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from devstack.certificate import Certificate

LINE = b"\r\n"
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
# A lost response or a duplicate matters only for requests that change something.
WRITES = ("PUT", "POST", "DELETE", "MERGE", "PATCH")
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nx-ms-error-code: ServerBusy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)


@dataclass
class Piece:
    """A request or a response as received: its first line, its headers and the remaining bytes."""

    first: str
    headers: dict[str, str]
    head: bytes
    body: bytes

    @property
    def method(self) -> str:
        """The method of a request."""
        return self.first.partition(" ")[0]

    @property
    def keeps_open(self) -> bool:
        """True if the connection stays open afterwards."""
        return self.headers.get("connection", "").lower() != "close"


class Proxy:
    """Proxy of one service, at `address`; with `shut` it refuses every request, with `busy` it throttles every one."""

    def __init__(self, upstream: str, certificate: Certificate) -> None:
        parts = urlsplit(upstream)
        self._upstream, self._path = (str(parts.hostname), int(parts.port or 443)), parts.path
        self._trusted = ssl.create_default_context(cafile=certificate.file)
        self._shown = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._shown.load_cert_chain(certificate.file, certificate.key)
        self._armed: deque[str] = deque()
        self.strikes: list[tuple[float, str]] = []
        self.shut = self.busy = False
        self.address = ""

    @property
    def struck(self) -> Counter[str]:
        """The number of strikes of each fault."""
        return Counter(fault for _, fault in self.strikes)

    def arm(self, fault: str, times: int = 1) -> None:
        """Harm the next requests: `busy`, `lost answer`, `sent twice`, `slow` or `cut off`."""
        self._armed.extend([fault] * times)

    def calm(self) -> None:
        """Stop harming requests."""
        self._armed.clear()
        self.shut = self.busy = False

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve within the block."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20, ssl=self._shown)
        self.address = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}{self._path}"
        try:
            yield
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(writer.close)
            stack.enter_context(contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError))
            upstream = await self._connected(stack)
            while (request := await _read(reader)) and not self.shut:
                fault = self._next(request)
                if fault == "busy":
                    writer.write(BUSY)
                    break
                if fault == "cut off":
                    break
                answer = await _forwarded(upstream, request, fault)
                if fault == "lost answer":
                    break
                writer.write(answer.head + answer.body)
                await writer.drain()
                if not (request.keeps_open and answer.keeps_open):
                    break

    async def _connected(self, stack: contextlib.AsyncExitStack) -> Connection:
        """Open a connection to the service; it closes with the client's connection."""
        reader, writer = await asyncio.open_connection(*self._upstream, limit=1 << 20, ssl=self._trusted)
        stack.callback(writer.close)
        return reader, writer

    def _next(self, request: Piece) -> str:
        if self.busy:
            return "busy"
        if not self._armed:
            return ""
        if self._armed[0] in ("lost answer", "sent twice") and request.method not in WRITES:
            return ""
        fault = self._armed.popleft()
        self.strikes.append((time.time(), fault))
        return fault


async def _forwarded(upstream: Connection, request: Piece, fault: str) -> Piece:
    if fault == "slow":
        await asyncio.sleep(2)
    reader, writer = upstream
    for _ in range(2 if fault == "sent twice" else 1):
        writer.write(request.head + request.body)
        await writer.drain()
        answer = await _read(reader, request.method)
        if answer is None:
            raise ConnectionResetError
    return answer


async def _read(reader: asyncio.StreamReader, asked: str = "") -> Piece | None:
    """Read the next request, or the response to a request of the method `asked`; None at the end of the connection."""
    head = b""
    while True:
        line = await reader.readline()
        if not line:
            return None
        head += line
        if line == LINE:
            break
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (each.partition(":") for each in lines if each)
    }
    interim = first.startswith("HTTP/1.1 1")
    if interim or asked == "HEAD" or (asked and first.split(" ")[1] in ("204", "304")):
        return Piece(first, headers, head, b"")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return Piece(first, headers, head, await _chunks(reader))
    return Piece(first, headers, head, await reader.readexactly(int(headers.get("content-length", 0))))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    whole = b""
    while True:
        size = await reader.readline()
        chunk = await reader.readexactly(int(size.split(b";")[0], 16) + 2)
        whole += size + chunk
        if chunk == LINE:
            return whole
