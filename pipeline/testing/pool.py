"""Fake session pool: an HTTP transport for `PoolClient`, with sessions in memory and the engine in this process.

Renditions are made by the real engine and the real Pillow. There is no sandbox: use it with images and recipes of your
own tests only.
"""

import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from typing_extensions import override

from pipeline.pool.responses import DIED_TEXTS, FULL_TEXT, TIMEOUT_TEXT

Files = dict[str, bytes]
Fault = Callable[[Files], httpx.Response | None]
"""A fault of one call: it returns a response, raises, or changes the session's files and lets the call go on."""

_ARCHIVE = re.compile(r'path = "/mnt/data/([^"]+)"')
_ARGUMENTS = re.compile(r'\.main\("([A-Za-z0-9+/=]+)", "[^"]*", "([0-9a-f]+)"\)')
_FILE_NAME = re.compile(rb'filename="([^"]*)"')


def status(code: int, error: str = "ServiceUnavailable", message: str = "", **headers: str) -> Fault:
    """Answer with an HTTP status, an error code and headers, such as `status(503, Retry_After="1")`."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: httpx.Response(code, json={"error": {"code": error, "message": message}}, headers=names)


def _execution(stderr: str) -> Fault:
    return lambda _: executed("Failed", "", stderr)


def _raise(error: Exception) -> httpx.Response | None:
    raise error


FULL = status(429, "SessionAllocationFailed", f"Error happened when {FULL_TEXT} for identifier x in pool p")
"""The pool has no free session."""
THROTTLED = status(503)
"""The pool answers 503."""
TIMED_OUT = _execution(TIMEOUT_TEXT)
"""The execution took longer than its timeout and was stopped."""
DIED = _execution(DIED_TEXTS[0])
"""The kernel was killed, as for lack of memory."""


def UNREACHABLE(_: Files) -> httpx.Response | None:  # noqa: N802 - a fault like the others
    """Refuse the connection."""
    return _raise(httpx.ConnectError("connection refused"))


def BROKEN_OFF(_: Files) -> httpx.Response | None:  # noqa: N802
    """Break the connection before the response."""
    return _raise(httpx.ReadError("connection reset"))


def REPLACED(files: Files) -> None:  # noqa: N802
    """Replace the session by an empty one, then carry the call out."""
    files.clear()


@dataclass
class FakePool(httpx.AsyncBaseTransport):
    """A session pool with the data plane of Azure's, for `PoolClient(settings, None, transport=FakePool())`.

    `sessions` are the files of each session by its identifier; `calls` are all calls so far, such as
    `"POST executions"`. A pool that holds `max_sessions` refuses further ones.
    """

    max_sessions: int = 600
    sessions: dict[str, Files] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    _faults: list[tuple[str, Fault]] = field(default_factory=list)

    def fail(self, call: str, fault: Fault, *, times: int = 1) -> None:
        """Let a fault hit the next calls that begin so, such as `POST executions`, `POST files` or `GET files`."""
        self._faults += [(call, fault)] * times

    def work_again(self) -> None:
        """Forget the faults that have not hit a call yet: an outage ends."""
        self._faults.clear()

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry out a call."""
        response = self._respond(request, b"".join([chunk async for chunk in request.stream]))  # type: ignore[union-attr]
        # As a stream, which is how the client reads it.
        stream = httpx.ByteStream(response.content)
        return httpx.Response(response.status_code, headers=response.headers, stream=stream)

    def _respond(self, request: httpx.Request, body: bytes) -> httpx.Response:
        call = f"{request.method} {request.url.path.lstrip('/')}"
        self.calls.append(call)
        identifier = request.url.params["identifier"]
        fault = next((each for each in self._faults if call.startswith(each[0])), None)
        if fault:
            self._faults.remove(fault)
            response = fault[1](self.sessions.get(identifier, {}))
            if response:
                return response
        if call in ("DELETE session", "POST .management/stopSession"):
            ended = self.sessions.pop(identifier, None)
            return httpx.Response(204) if ended is not None else _refused(404, "NoSessionFoundError")
        if identifier not in self.sessions and len(self.sessions) >= self.max_sessions:
            return FULL({}) or httpx.Response(429)
        return self._in_session(request, call, self.sessions.setdefault(identifier, {}), body)

    def _in_session(self, request: httpx.Request, call: str, files: Files, body: bytes) -> httpx.Response:
        if call == "POST executions":
            return executed("Succeeded", _run(json.loads(body)["code"], files))
        if call == "POST files":
            name, data = _uploaded(request.headers["Content-Type"], body)
            files[name] = data
            return httpx.Response(200, json={"name": name, "type": "file", "sizeInBytes": len(data)})
        name = request.url.path.split("/")[2]
        if name not in files:
            return _refused(404, "DeleteFileError" if request.method == "DELETE" else "FileNotFound")
        if request.method == "DELETE":
            del files[name]
            return httpx.Response(204)
        return httpx.Response(200, content=files[name])


def _refused(code: int, error: str) -> httpx.Response:
    return status(code, error)({}) or httpx.Response(code)


def executed(state: str, stdout: str, stderr: str = "") -> httpx.Response:
    """Return the response to an execution that ended as `Succeeded` or `Failed`."""
    result = {"stdout": stdout, "stderr": stderr, "executionResult": None, "executionTimeInMilliseconds": 1}
    return httpx.Response(200, json={"id": "execution", "status": state, "result": result})


def _uploaded(content_type: str, body: bytes) -> tuple[str, bytes]:
    """Take the one file out of a multipart body."""
    boundary = content_type.partition("boundary=")[2].encode()
    head, _, rest = body.partition(b"\r\n\r\n")
    name = _FILE_NAME.search(head)
    if not name or not rest.endswith(b"\r\n--" + boundary + b"--\r\n"):
        raise httpx.RequestError("the upload is not one whole file")
    return name[1].decode(), rest[: -len(boundary) - 8]


def _run(code: str, files: Files) -> str:
    """Run the pipeline's program on the session's files and return its standard output."""
    from pipeline.engine.execution.bundle import write_bundle  # imported here because the engine loads Pillow
    from pipeline.engine.execution.jobs import execute_job
    from pipeline.engine.protocol import decode_jobs, encode_reports, report_line
    from pipeline.pool.engine_bundle import MISSING

    archive, arguments = _ARCHIVE.search(code), _ARGUMENTS.search(code)
    if not archive or not arguments:
        raise ValueError("the fake pool executes only the engine's program: use the session pool emulator for others")
    if archive[1] not in files:
        return f"{MISSING} {arguments[2]}\n"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name, data in files.items():
            (place / name).write_bytes(data)
        documents = decode_jobs(arguments[1])
        reports = [execute_job(job, place) for job in documents]
        if "pack" in documents[0]:
            write_bundle(place / documents[0]["pack"], reports)
        files.clear()
        files.update({each.name: each.read_bytes() for each in place.iterdir()})
    body = encode_reports(reports)
    files[documents[0]["report"]] = body
    return report_line(body, arguments[2], documents[0]["report"]) + "\n"
