"""A session pool that lies: honest in everything, but for the answers that a test puts in the place of others.

A real pool cannot be made to answer like this, so this one is not real; everything around it is.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from pipeline.engine import protocol
from pipeline.engine.protocol import Job
from tests.images import picture

Lie = Callable[["Call", asyncio.StreamWriter], Awaitable[None]]
Twist = Callable[[dict[str, Any], Job], Any]
_VERBS = (
    ("POST", "/files", "upload"),
    ("POST", "/executions", "run"),
    ("GET", "/executions", "follow"),
    ("GET", "/files", "download"),
    ("DELETE", "/files", "remove"),
    ("DELETE", "/session", "end"),
)


@dataclass(frozen=True)
class Call:
    """One request: what it is about, its head and its body (not kept for uploads)."""

    verb: str
    target: str
    head: str
    body: bytes

    @property
    def identifier(self) -> str:
        """The session's identifier: the pool of course knows it."""
        found = re.search(r"identifier=([^& ]+)", self.target)
        return found[1] if found else ""

    @property
    def job(self) -> Job:
        """The job that the code of a run carries, as whoever took the session over would read it."""
        found = re.search(r'main\("([A-Za-z0-9+/=]+)"', json.loads(self.body)["code"])
        assert found
        return protocol.decode_jobs(found[1])[0]


@dataclass
class Liar:
    """`lies` by verb, `twist` for the report of a run, `files` for what downloads give. Counts what it was asked."""

    lies: dict[str, Lie] = field(default_factory=dict)
    twist: Twist | None = None
    contents: bytes = field(default_factory=lambda: picture(60, 40, "PNG"))
    calls: list[Call] = field(default_factory=list)
    port: int = 0
    report: bytes = b""

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def count(self, verb: str) -> int:
        """How often it was asked to."""
        return sum(call.verb == verb for call in self.calls)

    async def answer(self, call: Call, writer: asyncio.StreamWriter) -> None:
        """The lie for this verb, or the honest answer."""
        self.calls.append(call)
        lie = self.lies.get(call.verb)
        if lie:
            await lie(call, writer)
        elif call.verb == "run":
            writer.write(reply(200, said(self.line(call.job))))
        elif call.verb == "download":
            writer.write(reply(200, self.report if "/files/report-" in call.target else self.contents))
        else:
            writer.write(reply(200, {}))
        await writer.drain()

    def line(self, job: Job) -> str:
        """The line that a session prints: an honest report, twisted as a test wants it."""
        report: Any = honest(job, self.contents)
        report = self.twist(report, job) if self.twist else report
        body = report if isinstance(report, bytes) else json.dumps([report], separators=(",", ":")).encode()
        self.report = body
        return protocol.report_line(body, job["report"])


def honest(job: Job, contents: bytes) -> dict[str, Any]:
    """What the engine would say if every rendition became `contents`."""
    renditions = [
        {
            "name": each["name"],
            "file": each["file"],
            "format": each["format"],
            "size": len(contents),
            "sha256": hashlib.sha256(contents).hexdigest(),
            "width": 60,
            "height": 40,
            "ms": 1.0,
            "extra": {},
        }
        for each in job["renditions"]
    ]
    source = {"format": "PNG", "mode": "RGB", "width": 60, "height": 40, "frames": 1}
    about = {"version": protocol.VERSION, "versions": {"pillow": "0"}, "ms": {"total": 1.0}}
    return {**about, "source": source, "renditions": renditions, "failure": None}


def reply(status: int, body: object, **headers: str) -> bytes:
    """A whole HTTP answer."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"HTTP/1.1 {status} X", f"Content-Length: {len(text)}", *lines, "", ""]).encode() + text


def said(stdout: str, **more: Any) -> dict[str, Any]:
    """The body of a run that printed `stdout`."""
    return {"status": "Succeeded", "result": {"stdout": stdout, "stderr": "", **more}}


@asynccontextmanager
async def lying() -> AsyncIterator[Liar]:
    """A pool on a free port of this machine."""
    liar = Liar()
    busy: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        busy.add(task)
        try:
            while True:
                await liar.answer(await _call(reader), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            busy.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    liar.port = server.sockets[0].getsockname()[1]
    try:
        yield liar
    finally:
        server.close()
        for task in list(busy):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*busy, return_exceptions=True)


async def _call(reader: asyncio.StreamReader) -> Call:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = re.search(r"(?im)^content-length: *(\d+)", head)
    left, kept = int(length[1]) if length else 0, b""
    method, target, _ = head.split(" ", 2)
    path = target.split("?")[0]
    verb = next(verb for wanted, start, verb in _VERBS if method == wanted and path.startswith(start))
    while left:
        part = await reader.read(min(left, 65_536))
        if not part:
            raise ConnectionError
        left -= len(part)
        kept += part if verb == "run" else b""
    return Call(verb, target, head, kept)
