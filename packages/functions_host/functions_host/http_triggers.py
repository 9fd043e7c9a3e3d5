"""HTTP triggers: the ASGI application that the host serves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

import azure.functions as func
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from devstack.host.invoke import InvocationFailed, Invoker
from devstack.host.routes import Route
from devstack.host.work import Work

log = logging.getLogger("host")
REFUSED = (
    "This host serves this machine alone, which it asks for no keys: call it by a loopback name, such as "
    "http://127.0.0.1, and not from a page of another site."
)
Own = Callable[[Request], Awaitable[Response]]
# Where the host listens, by the names that this machine has for itself.
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
LONGEST_BODY = 100 * 1024 * 1024
LONGEST_ANSWER = 230.0  # seconds: the platform's load balancer waits no longer, whatever functionTimeout says


class Web:
    """Serves the functions that have an HTTP trigger. Keys are not asked for, as with `func start`."""

    def __init__(self, routes: list[Route], invoke: Invoker, work: Work, patience: float = LONGEST_ANSWER) -> None:
        self._routes = sorted(routes, key=lambda route: route.rank)
        self._invoke = invoke
        self._work = work
        self._patience = patience
        self._closed = False
        self._own: dict[str, Own] = {}

    def own(self, path: str, answer: Own) -> None:
        """Serve a path that is the host's and not the app's."""
        self._own[path] = answer

    def close(self) -> None:
        """Take no more requests; those under way are still answered."""
        self._closed = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            try:
                response = await self._answer(Request(scope, receive))
            except ClientDisconnect:
                return
            await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if self._closed:
            return Response(status_code=HTTPStatus.SERVICE_UNAVAILABLE)
        if not _is_ours(request):
            return PlainTextResponse(REFUSED, HTTPStatus.FORBIDDEN)
        path = request.scope["raw_path"].decode("ascii").partition("?")[0]
        if path == "/":
            return PlainTextResponse("The function host is running.")
        if path in self._own:
            return await self._own[path](request)
        for route in self._routes:
            parameters = route.match(path)
            if parameters is not None and (not route.methods or request.method in route.methods):
                return await self._call(route, request, parameters)
        return Response(status_code=HTTPStatus.NOT_FOUND)  # for a method that is not allowed too

    async def _call(self, route: Route, request: Request, parameters: dict[str, str]) -> Response:
        body = await _body(request)
        if body is None:
            return Response(status_code=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        reason = f"{request.method} {request.url.path}"
        call = self._work.start(self._invoke(route.function, _request(request, parameters, body), reason))
        try:
            return _response(await asyncio.wait_for(asyncio.shield(call), self._patience))
        except InvocationFailed:
            return Response(status_code=HTTPStatus.INTERNAL_SERVER_ERROR)
        except asyncio.CancelledError:
            if not call.cancelled():
                raise
            return Response(status_code=HTTPStatus.SERVICE_UNAVAILABLE)  # this host stops
        except TimeoutError:
            log.warning("%s has not answered within %.0f s; it goes on", route.function.name, self._patience)
            return Response(status_code=HTTPStatus.GATEWAY_TIMEOUT)


def _is_ours(request: Request) -> bool:
    """Whether somebody on this machine asks, and not a page of another site in their browser.

    Nothing here asks for keys, so that any page could otherwise have jobs done, and one whose name leads to this
    machine could read what comes back. A link that is followed to here does no harm.
    """
    site = request.headers.get("sec-fetch-site")
    if site is None and "origin" in request.headers:  # a browser that tells no more than that
        return _is_loopback(request.headers["origin"]) and _is_loopback(_host(request))
    if site in ("cross-site", "same-site"):
        page = (request.headers.get("sec-fetch-mode"), request.headers.get("sec-fetch-dest"))
        return _is_loopback(_host(request)) and request.method == "GET" and page == ("navigate", "document")
    return _is_loopback(_host(request))


def _host(request: Request) -> str:
    return f"//{request.headers.get('host', '')}"


def _is_loopback(address: str) -> bool:
    try:
        return urlsplit(address).hostname in LOOPBACK
    except ValueError:
        return False


async def _body(request: Request) -> bytes | None:
    """The whole body; None when it is longer than the platform takes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_BODY:
            return None
    return bytes(body)


def _request(request: Request, parameters: dict[str, str], body: bytes) -> func.HttpRequest:
    query: dict[str, str] = {}
    for key, value in parse_qsl(request.url.query, keep_blank_values=True):
        query[key] = f"{query[key]},{value}" if key in query else value
    headers = {name: ", ".join(request.headers.getlist(name)) for name in request.headers}
    return func.HttpRequest(
        request.method, str(request.url), headers=headers, params=query, route_params=parameters, body=body
    )


def _response(answer: str | func.HttpResponse) -> Response:
    if isinstance(answer, str):
        return PlainTextResponse(answer)
    response = Response(answer.get_body(), answer.status_code)
    for name, value in answer.headers.items():
        response.headers.append(name, value)
    if "content-type" not in response.headers:
        kind = answer.mimetype
        response.headers["content-type"] = f"{kind}; charset={answer.charset}" if kind.startswith("text/") else kind
    return response
