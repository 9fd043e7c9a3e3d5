"""Answering requests: each on its route, and those on none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import azure.functions as func

from pipeline.api.http import Request, problem_response, respond
from pipeline.api.problems import BadRequest, problem
from pipeline.api.route import Route
from pipeline.api.routes import TABLE
from pipeline.services import Services


async def handle(route: Route, services: Callable[[], Services], request: func.HttpRequest) -> func.HttpResponse:
    """The answer to a request on a route. To HEAD it is that to GET, whose body servers leave out."""
    about: dict[str, Any] = {"job": request.route_params["id"]} if route.path.startswith("jobs/{id}") else {}
    return await respond(lambda: route.handle(services(), Request(request, route.path)), **about)


async def handle_unknown(request: func.HttpRequest) -> func.HttpResponse:
    """The answer to a request on no route: the address is wrong, or the method."""
    asked = (request.route_params.get("path") or "").strip("/").lower().split("/")
    fitting = [route for route in TABLE if _fits(route.path.lower().split("/"), asked)]
    methods = ", ".join(sorted(method for route in fitting for method in route.methods))
    if methods:
        error = BadRequest(f"{request.method} is not for this address: {methods}", kind="method_not_allowed")
        return problem_response(problem(error), Allow=methods).http()
    error = BadRequest("there is nothing at this address; openapi.json has all there is", kind="no_such_address")
    return problem_response(problem(error)).http()


def _fits(path: list[str], asked: list[str]) -> bool:
    return len(path) == len(asked) and all(
        part.startswith("{") or part == given for part, given in zip(path, asked, strict=True)
    )
