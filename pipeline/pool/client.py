"""Client of the session pool's REST API: upload, execute, download, delete, and end a session.

It supports the data plane of 2024-10-02-preview and later (paths `executions` and `files`, flat bodies). It parses
bodies tolerantly, because the container of a custom pool responds slightly differently. It does not trust the server:
bodies have limits and redirects are not followed. A failed execution is a 200 whose body says so.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import quote

import httpx
import stamina

from pipeline import __version__, telemetry
from pipeline.engine.protocol import MAX_LINE_CHARACTERS
from pipeline.errors import PipelineError, PoolFull, PoolUnavailable, SessionLost, SessionReplyError
from pipeline.pool.auth import PoolToken
from pipeline.pool.responses import (
    SESSION_NOT_FOUND_CODES,
    Execution,
    body_chunks,
    error_from_response,
    is_retryable,
    json_object,
    map_errors,
    parse_execution,
    read_body,
)
from pipeline.pool.timeouts import CHUNK_BYTES, StallTimeout
from pipeline.pool.transport import Transport
from pipeline.settings import Settings

# Long enough for the longest report line, if the service returns that much.
MAX_STREAM_CHARACTERS = MAX_LINE_CHARACTERS + 4096
# The service itself stops an execution that takes too long. Wait this much longer for its response.
RESPONSE_GRACE_SECONDS = 15.0
POLL_INTERVAL_SECONDS = 0.5
_EXECUTION_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")

Chunks = Callable[[], AsyncIterator[bytes]]
"""Returns the chunks of an upload from the start, for every attempt."""


async def single_chunk(data: bytes) -> AsyncIterator[bytes]:
    """Yield all of `data` as one chunk."""
    yield data


def retry_attempts(settings: Settings) -> AsyncIterator[stamina.Attempt]:
    """Retry policy of one call: exponential backoff with jitter, or the delay of the pool's Retry-After."""
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
    """Client of the session pool, with one HTTP client and one token per process.

    All methods raise PipelineError: PoolFull, PoolUnavailable, SessionLost or SessionReplyError.
    """

    def __init__(
        self, settings: Settings, token: PoolToken | None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """Create a client without a connection. Without `token` it sends no Authorization header."""
        self._settings, self._token = settings, token
        self._http = httpx.AsyncClient(
            transport=transport or Transport(),
            # StallTimeout limits all but the connect time: httpx's timeouts are reset by every single byte.
            timeout=httpx.Timeout(None, connect=5.0),
            headers={"User-Agent": f"image-pipeline/{__version__}", "Accept-Encoding": "identity"},
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._token:
            await self._token.close()
        await self._http.aclose()

    async def upload(self, identifier: str, name: str, size: int, chunks: Chunks) -> None:
        """Upload `size` bytes as the file `name`. The pool starts the session if there is none."""
        boundary = secrets.token_hex(16)
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        tail = f"\r\n--{boundary}--\r\n".encode()

        async def body() -> AsyncIterator[bytes]:
            if size <= CHUNK_BYTES:
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
        """Execute `code` for at most `seconds`.

        Raises:
            SessionLost: The execution was stopped, or its end is unknown.
        """
        request = {
            "codeInputType": "Inline",
            "executionType": "Synchronous",
            "code": code,
            "timeoutInSeconds": seconds,
            "outputStreamsMaxLength": MAX_STREAM_CHARACTERS,
        }
        timeout = seconds + RESPONSE_GRACE_SECONDS
        response = await self._call(
            "POST", "executions", identifier, "execute", json_body=request, response_timeout=timeout
        )
        return parse_execution(await self._follow(identifier, response, timeout))

    @asynccontextmanager
    async def download(self, identifier: str, name: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Download the file `name` as a stream. The caller checks size and content."""
        with map_errors("download"):
            request = await self._request("GET", f"files/{quote(name)}/content", identifier)
            seconds = self._settings.transfer_timeout
            response = await self._send(request, StallTimeout(seconds))
            try:
                if response.status_code != httpx.codes.OK:
                    raise self._response_error(response, await read_body(response, seconds), "download")
                yield body_chunks(response, seconds)
            finally:
                await response.aclose()

    async def read(self, identifier: str, name: str, limit: int) -> bytes:
        """Return a small file. Raises SessionReplyError when it is longer than `limit` bytes."""
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
        """Delete the file `name` if it exists."""
        with suppress(SessionLost):
            await self._call("DELETE", f"files/{quote(name)}", identifier, "delete a file")

    async def end(self, identifier: str) -> None:
        """End a session, if it exists, and everything in it. Raises PoolUnavailable when the pool cannot end it."""
        custom = self._settings.pool_is_custom_container
        method, path = ("POST", ".management/stopSession") if custom else ("DELETE", "session")
        try:
            await self._call(method, path, identifier, "end a session")
        except (SessionLost, PoolUnavailable) as error:
            if error.service:
                raise
            # Any other 404 or 400 is about the call. The session still exists then.
            if not any(code in error.message for code in SESSION_NOT_FOUND_CODES):
                raise PoolUnavailable(
                    f"the pool cannot end a session: {error.message}", kind="pool_cannot_end", bounded=True
                ) from error

    async def _follow(self, identifier: str, response: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Poll an execution until its end, if the service responded before that."""
        try:
            async with asyncio.timeout(seconds):
                while str(response.get("status", "")).lower() in ("running", "notstarted"):
                    await asyncio.sleep(POLL_INTERVAL_SECONDS)
                    path = f"executions/{_execution_id(response)}"
                    response = await self._call("GET", path, identifier, "follow")
        except TimeoutError:
            raise SessionLost(f"the execution did not end within {seconds:.0f} s", kind="execution_timeout") from None
        return response

    async def _call(
        self,
        method: str,
        path: str,
        identifier: str,
        operation: str,
        *,
        content: Callable[[], AsyncIterator[bytes]] | None = None,
        json_body: dict[str, Any] | None = None,
        response_timeout: float | None = None,
        **options: Any,  # noqa: ANN401 - options of httpx
    ) -> dict[str, Any]:
        """Make one call with retries and return the response's JSON object, or {} for any other body.

        The response must start within `response_timeout` seconds; by default within PIPELINE_TRANSFER_TIMEOUT.
        """
        seconds = response_timeout or self._settings.transfer_timeout
        async for attempt in retry_attempts(self._settings):
            with attempt, map_errors(operation):
                stall_timeout = StallTimeout(seconds)
                async with stall_timeout.chunks_of(content) as body:
                    more = {"content": body} if body else {"json": json_body} if json_body else {}
                    request = await self._request(method, path, identifier, **more, **options)
                    response = await self._send(request, stall_timeout)
                    try:
                        text = await read_body(response, self._settings.transfer_timeout)
                    finally:
                        await response.aclose()
                if response.is_success:
                    return json_object(text)
                raise self._response_error(response, text, operation)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _response_error(self, response: httpx.Response, text: bytes, operation: str) -> PipelineError:
        """Map an error response; count refusals and have a refused token replaced."""
        if response.status_code == httpx.codes.UNAUTHORIZED and self._token:
            self._token.mark_refused(response.request.headers.get("Authorization", ""))
        error = error_from_response(response, text, operation)
        if isinstance(error, PoolFull | PoolUnavailable):
            telemetry.pool_refusals.add(1, {"call": operation, "kind": error.kind})
        return error

    async def _send(self, request: httpx.Request, stall_timeout: StallTimeout) -> httpx.Response:
        async with stall_timeout.enforced():
            with telemetry.suppress_http_spans():
                return await self._http.send(request, stream=True)

    async def _request(self, method: str, path: str, identifier: str, **options: Any) -> httpx.Request:  # noqa: ANN401 - options of httpx
        options.setdefault("headers", {})
        if self._token:
            options["headers"] = {**options["headers"], **await self._token.header()}
        params = {"api-version": self._settings.pool_api_version, "identifier": identifier}
        return self._http.build_request(method, f"{self._settings.pool_endpoint}/{path}", params=params, **options)


def _execution_id(response: dict[str, Any]) -> str:
    """Return the id of a running execution. It becomes part of a URL, so its characters are checked."""
    execution_id = response.get("id")
    if not isinstance(execution_id, str) or not _EXECUTION_ID.fullmatch(execution_id):
        raise SessionReplyError("execute: the session pool gives no usable id of a running execution")
    return execution_id
