"""A session pool server in a process of its own, for tests of any room: `async with running("--max-sessions", "2")`."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from session_pool_emulator.inside.syscalls import die_with_parent
from tests.session_pool_emulator import specs

REPOSITORY = Path(__file__).parent.parent.parent
READY = "session pool ready: "
VERSION = "2025-10-02-preview"
_START_SECONDS = 60


class NotReadyError(Exception):
    """The server ended before it was ready."""


@dataclass
class RunningPool:
    """The server's address, its process, its access log, and short ways to call it."""

    address: str
    process: asyncio.subprocess.Process
    log: Path
    http: httpx.AsyncClient

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """What the access log holds, or the events of one name in it."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if name in (None, line["event"])]

    async def call(self, method: str, path: str, identifier: str | None = None, **options: Any) -> httpx.Response:
        """One call with `version` (the newest unless told) and `identifier` in the query."""
        query = {"api-version": options.pop("version", VERSION)} | options.pop("params", {})
        if identifier is not None:
            query["identifier"] = identifier
        answer = await self.http.request(method, path, params=query, **options)
        specs.check(answer)
        return answer

    async def run(self, identifier: str, code: str, **fields: Any) -> dict[str, Any]:
        """Run `code` to its end; the body of the answer, which must be a success of HTTP."""
        body = {"codeInputType": "Inline", "executionType": "Synchronous", "code": code, "timeoutInSeconds": 60}
        answer = await self.call("POST", "/executions", identifier, json=body | fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def output(self, identifier: str, code: str, **fields: Any) -> str:
        """What `code` prints; it must succeed."""
        body = await self.run(identifier, code, **fields)
        assert body["status"] == "Succeeded", body
        return body["result"]["stdout"]

    async def put(self, identifier: str, name: str, content: bytes, **params: str) -> httpx.Response:
        """Upload a file."""
        return await self.call("POST", "/files", identifier, files={"file": (name, content)}, params=params)


async def start(*options: str, log: Path, stderr: Path | None = None) -> RunningPool:
    """Start a server with `options` and wait until it is ready."""
    arguments = ["-m", "session_pool_emulator", "--port", "0", "--log", str(log), *options]
    with stderr.open("wb") if stderr else nullcontext() as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            cwd=REPOSITORY,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            preexec_fn=die_with_parent,
        )
    assert process.stdout is not None
    async with asyncio.timeout(_START_SECONDS):
        line = (await process.stdout.readline()).decode().strip()
    if not line.startswith(READY):
        raise NotReadyError(f"the server said {line!r} and ended with {await process.wait()}")
    address = line.removeprefix(READY)
    # The server's own certificate, on loopback: nothing to verify.
    http = httpx.AsyncClient(base_url=address, timeout=60, trust_env=False, verify=False)
    return RunningPool(address, process, log, http)


async def stop(pool: RunningPool) -> int:
    """Ask the server to end, and wait; its exit status."""
    await pool.http.aclose()
    if pool.process.returncode is None:
        pool.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(_START_SECONDS):
        return await pool.process.wait()


async def until(holds: Callable[[], object], seconds: float = 30) -> None:
    """Wait until something that nobody announces has come about."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(*options: str, stderr: Path | None = None) -> AsyncIterator[RunningPool]:
    """A server for the length of a block; it must end well."""
    with tempfile.TemporaryDirectory() as folder:
        pool = await start(*options, log=Path(folder, "access.log"), stderr=stderr)
        try:
            yield pool
        finally:
            status = await stop(pool)
        assert status == 0
