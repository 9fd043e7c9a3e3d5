"""What stands before the emulator: every call goes through unchanged, and those that wrote a blob are told of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import aiohttp
from multidict import CIMultiDict
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from yarl import URL

from devstack.event_grid.operations import Call, Written
from devstack.event_grid.upstream import Upstream

# They are about one connection, and there are two.
HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-authorization", "expect"}
CHUNK = 1 << 18


class Proxy:
    """An ASGI application. `told` gets what a call wrote, before its caller knows that it succeeded.

    Signatures cover the path, which stays, and not the address, which changes.
    """

    def __init__(self, upstream: Upstream, told: Callable[[Written, str], None]) -> None:
        self._upstream, self._told = upstream, told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one call on."""
        request = Request(scope, receive)
        path, query = scope["raw_path"].decode("ascii").partition("?")[0], scope["query_string"].decode("ascii")
        url = URL(f"{self._upstream.address}{path}{'?' + query if query else ''}", encoded=True)
        call = self._upstream.calls.request(
            request.method,
            url,
            headers=_passed_on(scope["headers"]),
            data=_body(request),
            allow_redirects=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )
        try:
            answer = await call
        except aiohttp.ClientError as error:  # its caller may be the one that is gone
            await PlainTextResponse(f"the emulator does not answer: {error}", 502)(scope, receive, send)
            return
        async with answer:
            self._tell(request, path, query, answer)
            await _send(answer, send)

    def _tell(self, request: Request, path: str, query: str, answer: aiohttp.ClientResponse) -> None:
        answered = {name.lower(): value for name, value in answer.headers.items()}
        written = Written.by(Call(request.method, path, query, request.headers, answer.status, answered))
        if written:
            self._told(written, f"{request.url.scheme}://{request.url.netloc}")


def _passed_on(headers: list[tuple[bytes, bytes]]) -> CIMultiDict[str]:
    return CIMultiDict(
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in headers
        if name.decode("latin-1") not in HOP
    )


def _body(request: Request) -> AsyncIterator[bytes] | None:
    """As it comes, where there is one: memory does not grow with its size."""
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    return _chunks(request) if has_body else None


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        if chunk:
            yield chunk


async def _send(answer: aiohttp.ClientResponse, send: Send) -> None:
    headers = [(name, value) for name, value in answer.raw_headers if name.decode("latin-1").lower() not in HOP]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    async for chunk in answer.content.iter_chunked(CHUNK):
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
