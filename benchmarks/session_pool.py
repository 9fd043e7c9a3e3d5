"""Compare the session pool emulator to a bare Jupyter kernel and a bare file server, in the same run.

    python -m benchmarks.session_pool [--quick]

Each row has the measured value, the baseline, the ratio and the goal.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from math import nan
from pathlib import Path

import httpx
import uvicorn
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import start_new_async_kernel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from benchmarks.table import Row, below, quotient
from session_pool_emulator.inside.supervisor import descendants

_VERSION = "2025-10-02-preview"
_FILE_BYTES = 100 * 1_000_000
_MB = 1_000_000


class Pool:
    """Server under measurement."""

    def __init__(self, http: httpx.AsyncClient, pid: int) -> None:
        self.http = http
        self.pid = pid

    async def run(self, identifier: str, code: str) -> None:
        """Execute code synchronously in a session."""
        query = {"api-version": _VERSION, "identifier": identifier}
        body = {"codeInputType": "Inline", "executionType": "Synchronous", "code": code, "timeoutInSeconds": 60}
        answer = await self.http.post("/executions", params=query, json=body)
        answer.raise_for_status()

    async def call(self, method: str, path: str, identifier: str) -> None:
        """Send a request without a body."""
        query = {"api-version": _VERSION, "identifier": identifier}
        (await self.http.request(method, path, params=query)).raise_for_status()

    async def spares(self) -> int:
        """Return the number of warm spare sessions."""
        return int((await self.http.get("/")).json()["spares"])


@asynccontextmanager
async def pool(*options: str) -> AsyncIterator[Pool]:
    """Run a session pool emulator with command-line `options`."""
    arguments = ["-m", "session_pool_emulator", "--port", "0", "--log", os.devnull, *options]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None  # noqa: S101
    address = (await process.stdout.readline()).decode().split()[-1]
    try:
        async with httpx.AsyncClient(base_url=address, timeout=120, trust_env=False) as http:
            yield Pool(http, process.pid)
    finally:
        process.terminate()
        await process.wait()


async def p50(count: int, work: Callable[[], Awaitable[None]]) -> float:
    """Return the median duration of `count` calls of `work`, in milliseconds."""
    times = []
    for _ in range(count):
        started = time.perf_counter()
        await work()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


async def warm_runs(count: int) -> list[Row]:
    """Compare `print(1)` over HTTP to the same code sent directly to a kernel.

    Through HTTP once with the standard library's client, which costs next to nothing itself, and once with the client
    that the pipeline uses.
    """
    manager, client = await start_new_async_kernel(stderr=subprocess.DEVNULL)
    async with pool("--spares", "1") as served:

        async def bare() -> None:
            await _bare_run(client, "print(1)")

        async def through_http() -> None:
            _thin_run(thin, "print(1)")

        async def through_httpx() -> None:
            await served.run("warm-session", "print(1)")

        thin = http.client.HTTPConnection(served.http.base_url.host, served.http.base_url.port or 80)
        works = (bare, through_http, through_httpx)
        for work in works:
            await p50(count // 4, work)
        rounds = [[await p50(count // 4, work) for work in works] for _ in range(4)]
        thin.close()
    client.stop_channels()
    await manager.shutdown_kernel(now=True)
    baseline, *measured = (statistics.median(column) for column in zip(*rounds, strict=True))
    whats = ("warm print(1) through HTTP, p50", "the same with the pipeline's client (httpx)")
    goals = (("<= 1.5 x bare kernel", 1.5), ("for information", float("inf")))
    return [
        Row(what, f"{ms:.1f} ms", f"{baseline:.1f} ms", f"{ms / baseline:.2f}", goal, ms / baseline <= most)
        for what, ms, (goal, most) in zip(whats, measured, goals, strict=True)
    ]


def _thin_run(connection: http.client.HTTPConnection, code: str) -> None:
    body = {"codeInputType": "Inline", "executionType": "Synchronous", "code": code, "timeoutInSeconds": 60}
    path = f"/executions?api-version={_VERSION}&identifier=warm-session"
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200  # noqa: S101


async def _bare_run(client: AsyncKernelClient, code: str) -> None:
    await client.execute_interactive(code, store_history=False, output_hook=lambda _: None)


async def starts(count: int) -> list[Row]:
    """Compare the start of a spare session and of a cold one to the start of a bare kernel."""
    bare = statistics.median([await _bare_start() for _ in range(count)])
    async with pool("--spares", "0") as served:
        cold = statistics.median([await _fresh(served, spares=0) for _ in range(count)])
    async with pool("--spares", "2") as served:
        warm = statistics.median([await _fresh(served, spares=2) for _ in range(count)])
    ratio = cold / bare
    what = "cold session, first answer, p50"
    return [
        Row("session from a spare, first answer, p50", f"{warm:.0f} ms", "", "", "<= 100 ms", warm <= 100),
        Row(what, f"{cold:.0f} ms", f"{bare:.0f} ms", f"{ratio:.2f}", "<= 1.5 x bare kernel start", ratio <= 1.5),
    ]


async def _bare_start() -> float:
    started = time.perf_counter()
    manager, client = await start_new_async_kernel(stderr=subprocess.DEVNULL)
    elapsed = (time.perf_counter() - started) * 1000
    client.stop_channels()
    await manager.shutdown_kernel(now=True)
    return elapsed


async def _fresh(served: Pool, spares: int) -> float:
    """Return the milliseconds of the first call with a new identifier, with `spares` spare sessions."""
    while await served.spares() < spares:  # noqa: ASYNC110 - in another process
        await asyncio.sleep(0.05)
    identifier = f"fresh-{secrets.token_hex(6)}"
    started = time.perf_counter()
    await served.call("GET", "/files", identifier)
    elapsed = (time.perf_counter() - started) * 1000
    await served.call("DELETE", "/session", identifier)
    return elapsed


async def fairness(seconds: float) -> Row:
    """Measure twenty concurrent sessions, each executing short programs in sequence."""
    async with pool("--max-sessions", "20", "--spares", "0") as served:
        identifiers = [f"fair-{number:02}" for number in range(20)]
        for identifier in identifiers:
            await served.run(identifier, "1")
        end = time.monotonic() + seconds
        counts = await asyncio.gather(*(_busy(served, identifier, end) for identifier in identifiers))
    ratio = quotient(min(counts), max(counts))
    goal = "slowest >= 0.5 x fastest"
    return Row("20 sessions at once: runs each", f"{min(counts)}-{max(counts)}", "", f"{ratio:.2f}", goal, ratio >= 0.5)


async def _busy(served: Pool, identifier: str, end: float) -> int:
    count = 0
    while time.monotonic() < end:
        await served.run(identifier, "sum(range(1000))")
        count += 1
    return count


async def transfers(rounds: int) -> list[Row]:
    """Compare the upload and download of 100 MB to a bare file server on the same library."""
    with tempfile.TemporaryDirectory() as folder:
        _make_file(folder)
        async with pool("--spares", "0") as served, _file_server(folder) as bare:
            await served.run("transfer", "1")
            query = f"?api-version={_VERSION}&identifier=transfer"
            ours = (f"/files{query}", f"/files/big.bin/content{query}")
            before = _peak(served.pid)
            measured = [await _both_ways(served.http, *ours) for _ in range(rounds)]
            grown = (_peak(served.pid) - before) / _MB
            baseline = [await _both_ways(bare, "/upload", "/big.bin") for _ in range(rounds)]
    up, down = (max(column) for column in zip(*measured, strict=True))
    bare_up, bare_down = (max(column) for column in zip(*baseline, strict=True))
    return [
        _speed("upload of 100 MB", up, bare_up),
        _speed("download of 100 MB", down, bare_down),
        Row("the server's memory grows by, meanwhile", f"{grown:.1f} MB", "", "", "< 20 MB", grown < 20),
    ]


def _make_file(folder: str) -> None:
    Path(folder, "big.bin").write_bytes(os.urandom(_MB) * (_FILE_BYTES // _MB))


def _speed(what: str, measured: float, baseline: float) -> Row:
    ratio = measured / baseline
    held = measured >= 200 or ratio >= 0.5
    goal = ">= 200 MB/s or 0.5 x bare server"
    return Row(what, f"{measured:.0f} MB/s", f"{baseline:.0f} MB/s", f"{ratio:.2f}", goal, held)


async def _both_ways(http: httpx.AsyncClient, upload: str, download: str) -> tuple[float, float]:
    """Return MB/s of an upload and a download. The multipart body is built before the measurement."""
    boundary = "benchmark"
    head = f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="big.bin"\r\n\r\n'.encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    block = os.urandom(_MB)

    async def body() -> AsyncIterator[bytes]:
        yield head
        for _ in range(_FILE_BYTES // _MB):
            yield block
        yield tail

    length = str(len(head) + _FILE_BYTES + len(tail))
    headers = {"content-type": f"multipart/form-data; boundary={boundary}", "content-length": length}
    started = time.perf_counter()
    (await http.post(upload, content=body(), headers=headers)).raise_for_status()
    up = _FILE_BYTES / _MB / (time.perf_counter() - started)
    started = time.perf_counter()
    async with http.stream("GET", download) as answer:
        received = sum([len(chunk) async for chunk in answer.aiter_raw()])
    assert received == _FILE_BYTES  # noqa: S101
    return up, _FILE_BYTES / _MB / (time.perf_counter() - started)


@asynccontextmanager
async def _file_server(folder: str) -> AsyncIterator[httpx.AsyncClient]:
    """Run the baseline server in a separate process: it sends files and discards uploads."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = ["-m", "benchmarks.session_pool", "--serve", folder, "--port", str(port)]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False) as http:
            await _until_it_answers(http)
            yield http
    finally:
        process.terminate()
        await process.wait()


async def _until_it_answers(http: httpx.AsyncClient) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await http.get("/none")
            except httpx.ConnectError:
                await asyncio.sleep(0.05)
            else:
                return


def serve_files(folder: str, port: int) -> None:
    """Serve the baseline."""

    async def download(request: Request) -> Response:
        path = Path(folder, request.path_params["name"])
        return FileResponse(path) if path.is_file() else Response(status_code=404)  # noqa: ASYNC240

    async def upload(request: Request) -> Response:
        with Path(folder, "uploaded").open("wb") as file:  # noqa: ASYNC230 - as the server under measurement does
            async for chunk in request.stream():
                file.write(chunk)
        return Response()

    routes = [Route("/upload", upload, methods=["POST"]), Route("/{name}", download)]
    config = uvicorn.Config(Starlette(routes=routes), port=port, access_log=False, log_level="error", http="h11")
    uvicorn.Server(config).run()


async def idle_memory() -> Row:
    """Measure the memory of an idle session with Pillow imported, as proportional set size of its processes."""
    async with pool("--spares", "0") as served:
        await served.run("idle-session", "from PIL import Image")
        own = sum(map(_proportional, descendants(served.pid))) / _MB
    return below("idle session with Pillow imported", own or nan, "MB", 80)


def _proportional(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024


def _peak(pid: int) -> int:
    """Return the peak memory of a process in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


async def measure(*, quick: bool) -> list[Row]:
    """Yield all rows, one measurement after another."""
    return [
        *await warm_runs(80 if quick else 400),
        *await starts(3 if quick else 9),
        await fairness(2 if quick else 8),
        *await transfers(1 if quick else 3),
        await idle_memory(),
    ]


def main() -> None:
    """Print the table. Exit with 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve_files(options.serve, options.port)
        return
    rows = asyncio.run(measure(quick=options.quick))
    print(f"{'':<44}{'measured':>14}{'baseline':>14}{'ratio':>9}  goal")
    print(*rows, sep="\n")
    sys.exit(0 if all(row.met for row in rows) else 1)


if __name__ == "__main__":
    main()
