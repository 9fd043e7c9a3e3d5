"""HTTP triggers: the ASGI application of the host, and route templates such as `jobs/{id:int?}` and `files/{*path}`.

As in ASP.NET, matching ignores case.
"""

import asyncio
import logging
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import unquote, urlsplit

import azure.functions as func
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from functions_host.errors import HostError
from functions_host.functions import Function, InFlight, InvocationError, Invoker

CONSTRAINT_PATTERNS = {
    "": r"[^/]+",
    "int": r"-?\d+",
    "long": r"-?\d+",
    "alpha": r"[A-Za-z]+",
    "bool": r"(?i:true|false)",
    "guid": r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
}
ENCODED_SLASH = re.compile(r"(.*?)(%2[Ff]|$)", re.DOTALL)
PARAMETER = re.compile(r"\{(\*{0,2})(\w+)(?::(\w+))?(\?)?\}")


@dataclass(frozen=True)
class Route:
    """A compiled route of a function. An empty set of methods allows all; routes are tried in order of precedence."""

    function: Function
    methods: frozenset[str]
    pattern: re.Pattern[str]
    precedence: tuple[int, ...]

    def match(self, path: str) -> dict[str, str] | None:
        """Return the route parameters if the percent-encoded path matches."""
        match = self.pattern.fullmatch(path.strip("/"))
        return {key: _decoded(value) for key, value in match.groupdict().items() if value} if match else None


def _decoded(value: str) -> str:
    """Decode a route parameter as on Azure: an encoded slash stays encoded."""
    return ENCODED_SLASH.sub(lambda match: f"{unquote(match[1])}{match[2]}", value)


def compile_route(function: Function, prefix: str) -> Route:
    """Compile the route of an HTTP trigger below `prefix`.

    Raises:
        HostError: The route has an unsupported constraint.
    """
    template = function.trigger.get("route") or function.name
    segments = [*filter(None, prefix.split("/")), *filter(None, template.split("/"))]
    try:
        pattern = "".join(_segment_pattern(segment, first=index == 0) for index, segment in enumerate(segments))
        compiled = re.compile(pattern, re.IGNORECASE)
    except (KeyError, re.error) as error:
        raise HostError(f"{function.name}: the route '{template}' has an unsupported part: {error}") from None
    methods = frozenset(method.upper() for method in function.trigger.get("methods", []))
    return Route(function, methods, compiled, tuple(_precedence(segment) for segment in segments))


def _segment_pattern(segment: str, *, first: bool) -> str:
    slash = "" if first else "/"
    parameter = PARAMETER.fullmatch(segment)
    if parameter and parameter[1]:
        return f"(?:{slash}(?P<{parameter[2]}>.*))?"
    if parameter and parameter[4]:
        return f"(?:{slash}(?P<{parameter[2]}>{CONSTRAINT_PATTERNS[parameter[3] or '']}))?"
    return slash + _mixed_segment_pattern(segment)


def _mixed_segment_pattern(segment: str) -> str:
    """Return the pattern of a segment with literals and parameters, such as `{name}.{format}`."""
    parts = []
    end = 0
    for match in PARAMETER.finditer(segment):
        parts += [
            _literal_pattern(segment[end : match.start()]),
            f"(?P<{match[2]}>{CONSTRAINT_PATTERNS[match[3] or '']})",
        ]
        end = match.end()
    return "".join([*parts, _literal_pattern(segment[end:])])


def _literal_pattern(text: str) -> str:
    if "{" in text or "}" in text:
        raise KeyError(text)
    return re.escape(text)


def _precedence(segment: str) -> int:
    """Return 0 for a literal, 1 for a parameter with a constraint, 2 for one without, 3 for a catch-all."""
    parameter = PARAMETER.search(segment)
    if not parameter:
        return 0
    return 3 if parameter[1] else 1 if parameter[3] else 2


log = logging.getLogger(__name__)
FOREIGN_REQUEST_MESSAGE = (
    "This host serves only this machine, because it checks no keys. Call it by a loopback name such as "
    "http://127.0.0.1, and not from a page of another site."
)
Endpoint = Callable[[Request], Awaitable[Response]]
LOOPBACK_NAMES = {"127.0.0.1", "localhost", "::1"}
BODY_LIMIT_SETTING, MAX_BODY_BYTES = "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT", 100 * 1024 * 1024
# Azure's load balancer closes a request after this time, even if functionTimeout is longer.
RESPONSE_TIMEOUT_SECONDS = 230.0


class HttpTriggers:
    """Serve functions with an HTTP trigger. Like `func start`, the host does not check function keys."""

    def __init__(
        self,
        routes: list[Route],
        invoke: Invoker,
        inflight: InFlight,
        response_timeout: float = RESPONSE_TIMEOUT_SECONDS,
    ) -> None:
        self._routes = sorted(routes, key=lambda route: route.precedence)
        self._invoke = invoke
        self._inflight = inflight
        self._response_timeout = response_timeout
        self._closed = False
        self._endpoints: dict[str, Endpoint] = {}

    def add_endpoint(self, path: str, endpoint: Endpoint) -> None:
        """Serve a path with the host itself; it takes precedence over the routes of the app."""
        self._endpoints[path] = endpoint

    def close(self) -> None:
        """Reject new requests. Open requests still get their response."""
        self._closed = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one ASGI request."""
        if scope["type"] == "http":
            try:
                response = await self._respond(Request(scope, receive))
            except ClientDisconnect:
                return
            await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        """Dispatch a request to the host itself or to the route of a function."""
        if self._closed:
            return Response(status_code=HTTPStatus.SERVICE_UNAVAILABLE)
        if not _is_from_this_machine(request):
            return PlainTextResponse(FOREIGN_REQUEST_MESSAGE, HTTPStatus.FORBIDDEN)
        path = request.scope["raw_path"].decode("ascii").partition("?")[0]
        if path == "/":
            return PlainTextResponse("The function host is running.")
        if path in self._endpoints:
            return await self._endpoints[path](request)
        for route in self._routes:
            parameters = route.match(path)
            if parameters is not None and (not route.methods or request.method in route.methods):
                return await self._call(route, request, parameters)
        return Response(status_code=HTTPStatus.NOT_FOUND)  # also for a method that the route does not allow

    async def _call(self, route: Route, request: Request, parameters: dict[str, str]) -> Response:
        """Invoke the function of a route and wait for its response."""
        body = await _read_body(request)
        if body is None:
            return Response(status_code=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        reason = f"{request.method} {request.url.path}"
        call = self._inflight.start(
            self._invoke(route.function, _to_function_request(request, parameters, body), reason)
        )
        try:
            return _to_response(await asyncio.wait_for(asyncio.shield(call), self._response_timeout))
        except InvocationError:
            return Response(status_code=HTTPStatus.INTERNAL_SERVER_ERROR)
        except asyncio.CancelledError:
            if not call.cancelled():
                raise
            return Response(status_code=HTTPStatus.SERVICE_UNAVAILABLE)  # shutdown
        except TimeoutError:
            log.warning(
                "%s sent no response within %.0f s; it keeps running", route.function.name, self._response_timeout
            )
            return Response(status_code=HTTPStatus.GATEWAY_TIMEOUT)


def _is_from_this_machine(request: Request) -> bool:
    """Return whether a program on this machine sends the request, and not a page of another site in a browser.

    The host checks no keys. Without this check any page could start jobs (cross-site request forgery), and a page with
    a name that resolves to 127.0.0.1 could read responses (DNS rebinding). Following a link to this host is harmless.
    """
    site = request.headers.get("sec-fetch-site")
    if site is None and "origin" in request.headers:  # an old browser sends only Origin
        return _is_loopback(request.headers["origin"]) and _is_loopback(_host_url(request))
    if site in ("cross-site", "same-site"):
        navigation = (request.headers.get("sec-fetch-mode"), request.headers.get("sec-fetch-dest"))
        return _is_loopback(_host_url(request)) and request.method == "GET" and navigation == ("navigate", "document")
    return _is_loopback(_host_url(request))


def _host_url(request: Request) -> str:
    """Return the Host header as a URL without a scheme."""
    return f"//{request.headers.get('host', '')}"


def _is_loopback(url: str) -> bool:
    try:
        return urlsplit(url).hostname in LOOPBACK_NAMES
    except ValueError:
        return False


async def _read_body(request: Request) -> bytes | None:
    """Return the request body; None if it exceeds the limit, as on Azure.

    The Functions host hands a body on only if `Content-Length` is above 0: a function gets a chunked body as empty.
    """
    limit = int(os.environ.get(BODY_LIMIT_SETTING) or MAX_BODY_BYTES)
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            return None
        chunks.append(chunk)
    return b"".join(chunks) if "content-length" in request.headers else b""


def _to_function_request(request: Request, parameters: dict[str, str], body: bytes) -> func.HttpRequest:
    """Convert a request to the type that functions receive.

    As on Azure, repeated parameters are joined with commas, and parameters without a value are left out.
    """
    joined = {name: ",".join(request.query_params.getlist(name)) for name in request.query_params}
    query = {name: value for name, value in joined.items() if value}
    headers = {name: ", ".join(request.headers.getlist(name)) for name in request.headers}
    return func.HttpRequest(
        request.method, str(request.url), headers=headers, params=query, route_params=parameters, body=body
    )


def _to_response(result: str | func.HttpResponse) -> Response:
    """Convert the result of a function to a response."""
    if isinstance(result, str):
        return PlainTextResponse(result)
    response = Response(result.get_body(), result.status_code)
    for name, value in result.headers.items():
        response.headers.append(name, value)
    if "content-type" not in response.headers:
        mimetype = result.mimetype
        charset = f"; charset={result.charset}" if mimetype.startswith("text/") else ""
        response.headers["content-type"] = mimetype + charset
    return response
