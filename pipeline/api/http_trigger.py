"""Entry points of the HTTP triggers: handle a request on its route, or on no route."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import azure.functions as func

from pipeline.api.handlers import Handlers
from pipeline.api.http import Request, problem, problem_response, respond
from pipeline.api.route import Route
from pipeline.api.routes import ROUTES
from pipeline.errors import RequestError
from pipeline.services import Services


async def handle(route: Route, services: Callable[[], Services], request: func.HttpRequest) -> func.HttpResponse:
    """Handle a request on a route. HEAD gets the response to GET; the host omits its body."""
    fields: dict[str, Any] = {"job": request.route_params["id"]} if route.path.startswith("jobs/{id}") else {}
    return await respond(lambda: route.handler(Handlers.of(services()))(Request(request, route.path)), **fields)


async def handle_unknown(request: func.HttpRequest) -> func.HttpResponse:
    """Respond with 404 to a request on no route, or with 405 if the URL exists with another method."""
    segments = (request.route_params.get("path") or "").strip("/").lower().split("/")
    matching = [route for route in ROUTES if _matches(route.path.lower().split("/"), segments)]
    methods = ", ".join(sorted(method for route in matching for method in route.methods))
    if methods:
        error = RequestError(f"{request.method} is not allowed. Allowed: {methods}", kind="method_not_allowed")
        return problem_response(problem(error), Allow=methods).http()
    error = RequestError("this URL does not exist; openapi.json lists all endpoints", kind="not_found")
    return problem_response(problem(error)).http()


def _matches(path: list[str], segments: list[str]) -> bool:
    return len(path) == len(segments) and all(
        part.startswith("{") or part == segment for part, segment in zip(path, segments, strict=True)
    )
