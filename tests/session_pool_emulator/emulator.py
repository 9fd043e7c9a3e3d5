"""Emulator in a subprocess, for all tests: `async with run_emulator("--max-sessions", "2") as pool`."""

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
from tests.session_pool_emulator import api_specs

REPOSITORY = Path(__file__).parent.parent.parent
READY = "session pool ready: "
VERSION = "2025-10-02-preview"
_START_TIMEOUT_SECONDS = 60


class StartError(Exception):
    """Raised if the emulator exits before it is ready."""


@dataclass
class Emulator:
    """Running emulator: its URL, its process, its access log, and shortcuts for requests."""

    url: str
    process: asyncio.subprocess.Process
    log: Path
    http: httpx.AsyncClient

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the events of the access log, or only those with this name."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if name in (None, line["event"])]

    async def call(self, method: str, path: str, identifier: str | None = None, **options: Any) -> httpx.Response:
        """Send a request with `version` (default: the newest) and `identifier` in the query; validate the response."""
        query = {"api-version": options.pop("version", VERSION)} | options.pop("params", {})
        if identifier is not None:
            query["identifier"] = identifier
        response = await self.http.request(method, path, params=query, **options)
        api_specs.check(response)
        return response

    async def execute(self, identifier: str, code: str, **fields: Any) -> dict[str, Any]:
        """Execute `code` and return the body of the response, which must have status 200."""
        body = {"codeInputType": "Inline", "executionType": "Synchronous", "code": code, "timeoutInSeconds": 60}
        response = await self.call("POST", "/executions", identifier, json=body | fields)
        assert response.status_code == 200, response.text
        return response.json()

    async def output(self, identifier: str, code: str, **fields: Any) -> str:
        """Execute `code`, which must succeed, and return its standard output."""
        body = await self.execute(identifier, code, **fields)
        assert body["status"] == "Succeeded", body
        return body["result"]["stdout"]

    async def upload(self, identifier: str, name: str, content: bytes, **params: str) -> httpx.Response:
        """Upload a file."""
        return await self.call("POST", "/files", identifier, files={"file": (name, content)}, params=params)


async def start_emulator(*options: str, log: Path, stderr: Path | None = None) -> Emulator:
    """Start an emulator with these command-line options and wait until it is ready."""
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
    async with asyncio.timeout(_START_TIMEOUT_SECONDS):
        line = (await process.stdout.readline()).decode().strip()
    if not line.startswith(READY):
        raise StartError(f"the emulator printed {line!r} and exited with {await process.wait()}")
    url = line.removeprefix(READY)
    # No verification: the server has its own certificate, on loopback.
    http = httpx.AsyncClient(base_url=url, timeout=60, trust_env=False, verify=False)
    return Emulator(url, process, log, http)


async def stop_emulator(pool: Emulator) -> int:
    """Send SIGTERM, wait for the end and return the exit status."""
    await pool.http.aclose()
    if pool.process.returncode is None:
        pool.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(_START_TIMEOUT_SECONDS):
        return await pool.process.wait()


async def wait_until(condition: Callable[[], object], timeout: float = 30) -> None:  # noqa: ASYNC109
    """Poll until `condition` returns a true value; raise TimeoutError after `timeout` seconds."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def run_emulator(*options: str, stderr: Path | None = None) -> AsyncIterator[Emulator]:
    """Run an emulator for the duration of a block; it must exit with 0."""
    with tempfile.TemporaryDirectory() as folder:
        pool = await start_emulator(*options, log=Path(folder, "access.log"), stderr=stderr)
        try:
            yield pool
        finally:
            status = await stop_emulator(pool)
        assert status == 0
