"""Session pool that lies: its responses are correct, except those that a test replaces.

A real pool cannot be made to respond like this. All other parts are real.
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
from tests.images import image_bytes

Lie = Callable[["Call", asyncio.StreamWriter], Awaitable[None]]
Twist = Callable[[dict[str, Any], Job], Any]
_VERBS = (
    ("POST", "/files", "upload"),
    ("POST", "/executions", "execute"),
    ("GET", "/executions", "follow"),
    ("GET", "/files", "download"),
    ("DELETE", "/files", "delete"),
    ("DELETE", "/session", "end"),
)


@dataclass(frozen=True)
class Call:
    """Request to the pool. The body of an upload is not kept."""

    verb: str
    target: str
    head: str
    body: bytes

    @property
    def identifier(self) -> str:
        """The session's identifier, which the pool knows."""
        match = re.search(r"identifier=([^& ]+)", self.target)
        return match[1] if match else ""

    @property
    def job(self) -> Job:
        """The job in the code of an execution, which an intruder in the session can read."""
        return protocol.decode_jobs(self._argument(1))[0]

    @property
    def key(self) -> str:
        """Key of the execution, which an intruder in the session can read as well."""
        return self._argument(2)

    def _argument(self, number: int) -> str:
        match = re.search(r'main\("([A-Za-z0-9+/=]+)", "[^"]*", "(\w+)"\)', json.loads(self.body)["code"])
        assert match
        return match[number]


@dataclass
class LyingPool:
    """Server of a session pool.

    `lies` replace the responses to a verb, `twist` changes the report of an execution, and `contents` is the body of
    every downloaded rendition. `calls` holds all requests.
    """

    lies: dict[str, Lie] = field(default_factory=dict)
    twist: Twist | None = None
    contents: bytes = field(default_factory=lambda: image_bytes(60, 40, "PNG"))
    calls: list[Call] = field(default_factory=list)
    port: int = 0
    report: bytes = b""

    @property
    def url(self) -> str:
        """URL of the server."""
        return f"http://127.0.0.1:{self.port}"

    def count(self, verb: str) -> int:
        """Count the requests with a verb."""
        return sum(call.verb == verb for call in self.calls)

    async def respond(self, call: Call, writer: asyncio.StreamWriter) -> None:
        """Send the lie for the verb, or the correct response."""
        self.calls.append(call)
        lie = self.lies.get(call.verb)
        if lie:
            await lie(call, writer)
        elif call.verb == "execute":
            writer.write(reply(200, printed(self.report_line(call))))
        elif call.verb == "download":
            writer.write(reply(200, self.report if "/files/report-" in call.target else self.contents))
        else:
            writer.write(reply(200, {}))
        await writer.drain()

    def report_line(self, call: Call) -> str:
        """Return the report line that a session prints: a correct report, changed by the twist."""
        job = call.job
        report: Any = correct_report(job, self.contents)
        report = self.twist(report, job) if self.twist else report
        body = report if isinstance(report, bytes) else json.dumps([report], separators=(",", ":")).encode()
        self.report = body
        return protocol.report_line(body, call.key, job["report"])


def correct_report(job: Job, contents: bytes) -> dict[str, Any]:
    """Return the engine's report if every rendition were `contents`."""
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
            "dropped": [],
        }
        for each in job["renditions"]
    ]
    source = {"format": "PNG", "mode": "RGB", "width": 60, "height": 40, "frames": 1}
    about = {"version": protocol.VERSION, "versions": {"pillow": "0"}, "ms": {"total": 1.0}}
    return {**about, "source": source, "renditions": renditions, "failure": None}


def reply(status: int, body: object, **headers: str) -> bytes:
    """Build a complete HTTP response."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"HTTP/1.1 {status} X", f"Content-Length: {len(text)}", *lines, "", ""]).encode() + text


def printed(stdout: str, **more: Any) -> dict[str, Any]:
    """Return the response body of an execution that printed `stdout`."""
    return {"status": "Succeeded", "result": {"stdout": stdout, "stderr": "", **more}}


@asynccontextmanager
async def lying_pool() -> AsyncIterator[LyingPool]:
    """Run a lying pool on a free port of this machine."""
    pool = LyingPool()
    busy: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        busy.add(task)
        try:
            while True:
                await pool.respond(await _read_call(reader), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            # The transport closes its socket in a later step of the event loop, which must not end before that.
            with suppress(OSError):
                await writer.wait_closed()
            busy.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    pool.port = server.sockets[0].getsockname()[1]
    try:
        yield pool
    finally:
        server.close()
        for task in list(busy):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*busy, return_exceptions=True)


async def _read_call(reader: asyncio.StreamReader) -> Call:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = re.search(r"(?im)^content-length: *(\d+)", head)
    remaining, body = int(length[1]) if length else 0, b""
    method, target, _ = head.split(" ", 2)
    path = target.split("?")[0]
    verb = next(verb for wanted, start, verb in _VERBS if method == wanted and path.startswith(start))
    while remaining:
        part = await reader.read(min(remaining, 65_536))
        if not part:
            raise ConnectionError
        remaining -= len(part)
        body += part if verb == "execute" else b""
    return Call(verb, target, head, body)
