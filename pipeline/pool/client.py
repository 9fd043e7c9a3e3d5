"""The session pool's REST API, as five verbs on a session: put, run, get, remove, end.

Data plane 2024-10-02-preview and later (paths `executions` and `files`, flat bodies); bodies are read tolerantly,
since the container behind a custom pool answers a little differently. The other side is not trusted: bodies are read
within limits, redirects are not followed, and a failed run is a 200 whose body says so.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx
import stamina

from pipeline import __version__, telemetry
from pipeline.engine.protocol import LONGEST_LINE
from pipeline.errors import PipelineError, PoolFull, PoolUnavailable, SessionLost, SessionReplyError
from pipeline.pool.auth import PoolToken
from pipeline.pool.responses import (
    Execution,
    error_from_response,
    execution,
    is_retryable,
    json_object,
    limited,
    map_errors,
    raw,
)
from pipeline.pool.timeouts import PIECE, StallTimeout
from pipeline.pool.transport import Transport
from pipeline.settings import Settings

# Enough for the longest line of reports, should the service give that much.
STREAM_LIMIT = LONGEST_LINE + 4096
# The service answers a run that takes too long by itself; we wait this much longer for that answer.
GRACE = 15.0
POLL = 0.5
_OPERATION = re.compile(r"[A-Za-z0-9_-]{1,128}")
# How a pool says that there is no such session.
GONE = ("NoSessionFound", "SessionNotFound", "SessionWithIdentifierNotFound")

Chunks = Callable[[], AsyncIterator[bytes]]


def retry_attempts(settings: Settings) -> AsyncIterator[stamina.Attempt]:
    """The tries of one call: growing pauses with jitter, or as long as the pool asks for, within bounds."""
    return aiter(
        stamina.retry_context(
            on=lambda error: is_retryable(error, settings.retry_timeout),
            attempts=settings.retry_max_attempts,
            timeout=settings.retry_timeout,
            wait_initial=0.2,
            wait_max=8.0,
            wait_jitter=0.5,
        )
    )


class PoolClient:
    """One HTTP client and one token for the process."""

    def __init__(
        self, settings: Settings, token: PoolToken | None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._settings, self._token = settings, token
        self._http = httpx.AsyncClient(
            transport=transport or Transport(),
            # The deadlines of `progress` are what counts: these ask for one byte at a time.
            timeout=httpx.Timeout(None, connect=5.0),
            headers={"User-Agent": f"image-pipeline/{__version__}", "Accept-Encoding": "identity"},
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._token:
            await self._token.close()
        await self._http.aclose()

    async def upload(self, identifier: str, name: str, size: int, chunks: Chunks) -> None:
        """Upload `size` bytes as the file `name`; `chunks` gives them anew for every try."""
        boundary = secrets.token_hex(16)
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        tail = f"\r\n--{boundary}--\r\n".encode()

        async def body() -> AsyncIterator[bytes]:
            if size <= PIECE:
                yield b"".join([head, *[chunk async for chunk in chunks()], tail])
                return
            yield head
            async for chunk in chunks():
                yield chunk
            yield tail

        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + size + len(tail)),
        }
        await self._call("POST", "files", identifier, "upload", content=body, headers=headers)

    async def execute(self, identifier: str, code: str, seconds: int) -> Execution:
        """Run `code` for at most `seconds`; SessionLost when it was stopped, or its end could not be seen."""
        request = {
            "codeInputType": "Inline",
            "executionType": "Synchronous",
            "code": code,
            "timeoutInSeconds": seconds,
            "outputStreamsMaxLength": STREAM_LIMIT,
        }
        longest = seconds + GRACE
        answer = await self._call("POST", "executions", identifier, "run", json_body=request, longest=longest)
        return execution(await self._finished(identifier, answer, longest))

    @asynccontextmanager
    async def download(self, identifier: str, name: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Download the file `name` as a stream; the caller counts and checks what comes."""
        with map_errors("download"):
            request = await self._request("GET", f"files/{quote(name)}/content", identifier)
            seconds = self._settings.transfer_timeout
            response = await self._send(request, StallTimeout(seconds))
            try:
                if response.status_code != httpx.codes.OK:
                    raise self._refusal(response, await limited(response, seconds), "download")
                yield raw(response, seconds)
            finally:
                await response.aclose()

    async def read(self, identifier: str, name: str, limit: int) -> bytes:
        """The whole of a small file; SessionReplyError when it is longer than `limit`."""
        async for attempt in retry_attempts(self._settings):
            with attempt:
                body = bytearray()
                async with self.download(identifier, name) as chunks:
                    async for chunk in chunks:
                        body += chunk
                        if len(body) > limit:
                            raise SessionReplyError(f"a file of the session is longer than {limit} bytes")
        return bytes(body)

    async def delete(self, identifier: str, name: str) -> None:
        """Delete the file `name`; fine when it is not there."""
        try:
            await self._call("DELETE", f"files/{quote(name)}", identifier, "delete a file")
        except SessionLost:
            return

    async def end(self, identifier: str) -> None:
        """End a session and everything in it; fine when it is not there. PoolUnavailable when the pool cannot."""
        custom = self._settings.pool_is_custom_container
        method, path = ("POST", ".management/stopSession") if custom else ("DELETE", "session")
        try:
            await self._call(method, path, identifier, "end a session")
        except (SessionLost, SessionReplyError) as error:
            # Another 404 or 400 is about the call and not about the session, which then is still there.
            if not any(code in error.message for code in GONE):
                raise PoolUnavailable(
                    f"the pool cannot end a session: {error.message}", kind="pool_cannot_end"
                ) from error

    async def _finished(self, identifier: str, answer: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Follow an execution that the service chose to answer before its end."""
        try:
            async with asyncio.timeout(seconds):
                while str(answer.get("status", "")).lower() in ("running", "notstarted"):
                    await asyncio.sleep(POLL)
                    answer = await self._call("GET", f"executions/{_operation(answer)}", identifier, "follow")
        except TimeoutError:
            raise SessionLost(f"the run did not end within {seconds:.0f} s", kind="execution_timeout") from None
        return answer

    async def _call(
        self,
        method: str,
        path: str,
        identifier: str,
        doing: str,
        *,
        content: Callable[[], AsyncIterator[bytes]] | None = None,
        json_body: dict[str, Any] | None = None,
        longest: float | None = None,
        **options: Any,  # noqa: ANN401 - options of httpx
    ) -> dict[str, Any]:
        """One call with its tries: the answer's JSON object, or {} when the body is something else.

        The answer has to begin within `longest` seconds; without that, in the time that a transfer may stand still.
        """
        seconds = longest or self._settings.transfer_timeout
        async for attempt in retry_attempts(self._settings):
            with attempt, map_errors(doing):
                patience = StallTimeout(seconds)
                async with patience.sending(content) as body:
                    more = {"content": body} if body else {"json": json_body} if json_body else {}
                    request = await self._request(method, path, identifier, **more, **options)
                    response = await self._send(request, patience)
                    try:
                        text = await limited(response, self._settings.transfer_timeout)
                    finally:
                        await response.aclose()
                if response.is_success:
                    return json_object(text)
                raise self._refusal(response, text, doing)
        raise AssertionError("unreachable: the last try returns or raises")

    def _refusal(self, response: httpx.Response, text: bytes, doing: str) -> PipelineError:
        """What an answer other than success means, told where it has to be known."""
        if response.status_code == httpx.codes.UNAUTHORIZED and self._token:
            self._token.refused(response.request.headers.get("Authorization", ""))
        error = error_from_response(response, text, doing)
        if isinstance(error, PoolFull | PoolUnavailable):
            telemetry.pool_refusals.add(1, {"call": doing, "kind": error.kind})
        return error

    async def _send(self, request: httpx.Request, patience: StallTimeout) -> httpx.Response:
        async with patience.kept():
            with telemetry.unrecorded():
                return await self._http.send(request, stream=True)

    async def _request(self, method: str, path: str, identifier: str, **options: Any) -> httpx.Request:  # noqa: ANN401 - options of httpx
        options.setdefault("headers", {})
        if self._token:
            options["headers"] = {**options["headers"], **await self._token.header()}
        params = {"api-version": self._settings.pool_api_version, "identifier": identifier}
        return self._http.build_request(method, f"{self._settings.pool_endpoint}/{path}", params=params, **options)


def _operation(answer: dict[str, Any]) -> str:
    """The id under which an execution can be followed; it becomes part of an address."""
    found = answer.get("id")
    if not isinstance(found, str) or not _OPERATION.fullmatch(found):
        raise SessionReplyError("run: the session pool gives no usable id for a run that goes on")
    return found
