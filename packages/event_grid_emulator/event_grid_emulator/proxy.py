"""Reverse proxy for the storage emulator: forward requests unchanged and report the blob operations among them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from http import HTTPStatus

import aiohttp
from multidict import CIMultiDict
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from yarl import URL

from event_grid_emulator.events import BlobOperation, Exchange
from event_grid_emulator.upstream import Upstream

HOP_BY_HOP_HEADERS = {
    "connection",
    "keep-alive",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "proxy-authorization",
    "expect",
}
CHUNK_BYTES = 1 << 18


class Proxy:
    """ASGI application. It calls `on_operation` with each blob operation before the client gets the response.

    Shared key signatures stay valid: they cover the path, which is unchanged, and not the host.
    """

    def __init__(self, upstream: Upstream, on_operation: Callable[[BlobOperation, str], None]) -> None:
        self._upstream, self._on_operation = upstream, on_operation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request."""
        request = Request(scope, receive)
        path, query = scope["raw_path"].decode("ascii").partition("?")[0], scope["query_string"].decode("ascii")
        url = URL(f"{self._upstream.url}{path}{'?' + query if query else ''}", encoded=True)
        forwarded = self._upstream.session.request(
            request.method,
            url,
            headers=_end_to_end_headers(scope["headers"]),
            data=_body(request),
            allow_redirects=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )
        try:
            response = await forwarded
        except aiohttp.ClientError as error:  # also when the client has disconnected
            message = f"the emulator does not respond: {error}"
            await PlainTextResponse(message, HTTPStatus.BAD_GATEWAY)(scope, receive, send)
            return
        async with response:
            self._report(request, path, query, response)
            await _send_response(response, send)

    def _report(self, request: Request, path: str, query: str, response: aiohttp.ClientResponse) -> None:
        response_headers = {name.lower(): value for name, value in response.headers.items()}
        exchange = Exchange(request.method, path, query, request.headers, response.status, response_headers)
        operation = BlobOperation.from_exchange(exchange)
        if operation:
            self._on_operation(operation, f"{request.url.scheme}://{request.url.netloc}")


def _end_to_end_headers(headers: list[tuple[bytes, bytes]]) -> CIMultiDict[str]:
    decoded = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
    return CIMultiDict((name, value) for name, value in decoded if name not in HOP_BY_HOP_HEADERS)


def _body(request: Request) -> AsyncIterator[bytes] | None:
    """Return the body as a stream, so that memory does not grow with its size; None if there is no body."""
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    return _chunks(request) if has_body else None


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        if chunk:
            yield chunk


async def _send_response(response: aiohttp.ClientResponse, send: Send) -> None:
    headers = [
        (name, value)
        for name, value in response.raw_headers
        if name.decode("latin-1").lower() not in HOP_BY_HOP_HEADERS
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
