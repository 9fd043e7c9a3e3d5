"""Table of all routes of the API, and the entry points of the HTTP triggers.

The function app is generated from the table, and the OpenAPI document from the table and the contracts of the routes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import azure.functions as func

from pipeline.api.handlers import Handlers, Route
from pipeline.api.http import Request, Response, problem, problem_response, respond
from pipeline.errors import RequestError

if TYPE_CHECKING:
    from pipeline.services import Services


async def _show_openapi(request: Request) -> Response:
    """Handle `GET /api/openapi.json`: describe these routes."""
    from pipeline.api import openapi

    return Response(openapi.document(ROUTES, request.links))


ROUTES: tuple[Route, ...] = (
    Route(
        name="submit_job",
        method="POST",
        path="jobs",
        handler=lambda api: api.submit.submit,
        summary="Submit a job for a blob, or for an image in the request.",
    ),
    Route(
        name="list_jobs",
        method="GET",
        path="jobs",
        handler=lambda api: api.jobs.list_page,
        summary="List jobs by state, recipe, run or prefix of the source's name.",
    ),
    Route(
        name="show_job",
        method="GET",
        path="jobs/{id}",
        handler=lambda api: api.jobs.show,
        summary="Show a job.",
    ),
    Route(
        name="dismiss_job",
        method="DELETE",
        path="jobs/{id}",
        handler=lambda api: api.jobs.dismiss,
        summary="Dismiss a failed job, or cancel a queued one.",
    ),
    Route(
        name="retry_job",
        method="POST",
        path="jobs/{id}/retry",
        handler=lambda api: api.jobs.retry,
        summary="Retry a job, done or failed.",
    ),
    Route(
        name="fetch_rendition",
        method="GET",
        path="jobs/{id}/renditions/{name}",
        handler=lambda api: api.images.show_rendition,
        summary="Get a rendition of a job.",
    ),
    Route(
        name="fetch_source",
        method="GET",
        path="jobs/{id}/source",
        handler=lambda api: api.images.show_source,
        summary="Get the version of the source that a job processed.",
    ),
    Route(
        name="list_failures",
        method="GET",
        path="failures",
        handler=lambda api: api.failures.show,
        summary="Count the failures by kind, most frequent first.",
    ),
    Route(
        name="retry_failures",
        method="POST",
        path="failures/retry",
        handler=lambda api: api.failures.retry,
        summary="Retry all failures of a kind, up to the limit of one request.",
    ),
    Route(
        name="plan_run",
        method="POST",
        path="runs/plan",
        handler=lambda api: api.runs.plan,
        summary="Plan a run: count its jobs, estimate its time and cost. Nothing is executed.",
    ),
    Route(
        name="start_run",
        method="POST",
        path="runs",
        handler=lambda api: api.runs.start,
        summary="Start a run.",
    ),
    Route(
        name="list_runs",
        method="GET",
        path="runs",
        handler=lambda api: api.runs.list_page,
        summary="List runs, newest first.",
    ),
    Route(
        name="show_run",
        method="GET",
        path="runs/{id}",
        handler=lambda api: api.runs.show,
        summary="Show a run and its progress.",
    ),
    Route(
        name="cancel_run",
        method="POST",
        path="runs/{id}/cancel",
        handler=lambda api: api.runs.cancel,
        summary="Cancel a run: its running jobs end, no others start.",
    ),
    Route(
        name="resume_run",
        method="POST",
        path="runs/{id}/resume",
        handler=lambda api: api.runs.resume,
        summary="Resume a run; ended jobs are not executed again.",
    ),
    Route(
        name="list_recipes",
        method="GET",
        path="recipes",
        handler=lambda api: api.recipes.show,
        summary="List the recipes with their steps and hashes.",
    ),
    Route(
        name="show_recipe_schema",
        method="GET",
        path="recipes/schema",
        handler=lambda api: api.recipes.show_schema,
        summary="Get the JSON Schema of recipes, with every transform and format.",
    ),
    Route(
        name="preview_recipe",
        method="POST",
        path="preview",
        handler=lambda api: api.preview.show,
        summary="Preview a recipe on an image; nothing is stored.",
    ),
    Route(
        name="show_pool",
        method="GET",
        path="pool",
        handler=lambda api: api.monitoring.show_pool,
        summary="Show the slots of the session pool.",
    ),
    Route(
        name="recycle_slot",
        method="POST",
        path="pool/slots/{number}/recycle",
        handler=lambda api: api.monitoring.recycle_slot,
        summary="Recycle a slot: end its session after its running jobs.",
    ),
    Route(
        name="pause_work",
        method="POST",
        path="pause",
        handler=lambda api: api.pauses.pause,
        summary="Pause uploads, requests or runs: their jobs wait in the queues.",
    ),
    Route(
        name="resume_work",
        method="POST",
        path="resume",
        handler=lambda api: api.pauses.resume,
        summary="Resume uploads, requests or runs after a pause.",
    ),
    Route(
        name="show_stats",
        method="GET",
        path="stats",
        handler=lambda api: api.monitoring.show_statistics,
        summary="Show statistics: throughput by minute, queue depths, slot counts.",
    ),
    Route(
        name="show_health",
        method="GET",
        path="health",
        handler=lambda api: api.monitoring.show_health,
        summary="Check the dependencies; 503 with reasons if one is not healthy.",
    ),
    Route(
        name="show_version",
        method="GET",
        path="version",
        handler=lambda api: api.monitoring.show_version,
        summary="Show the version of the app, and its limits.",
    ),
    Route(
        name="show_openapi",
        method="GET",
        path="openapi.json",
        handler=lambda _: _show_openapi,
        summary="Get this document.",
    ),
)


async def handle(route: Route, services: Callable[[], Services], request: func.HttpRequest) -> func.HttpResponse:
    """Handle a request on a route. HEAD gets the response to GET; the host omits its body."""
    fields: dict[str, Any] = {"job": request.route_params["id"]} if route.path.startswith("jobs/{id}") else {}

    async def call() -> Response:
        composed = services()
        with composed.http_memory.reservation() as memory:
            received = Request(request, route.path, composed.settings.http_max_body_bytes, memory)
            # The platform holds the body as long as the function runs.
            received.reserve(len(request.get_body()))
            return await route.handler(Handlers(composed))(received)

    return await respond(call, **fields)


async def handle_unknown(request: func.HttpRequest) -> func.HttpResponse:
    """Respond with 404 to a request on no route, or with 405 if the URL exists with another method; to OPTIONS, 204."""
    segments = (request.route_params.get("path") or "").strip("/").lower().split("/")
    matching = [route for route in ROUTES if _matches(route.path.lower().split("/"), segments)]
    methods = ", ".join(sorted(method for route in matching for method in route.methods))
    if methods and request.method == "OPTIONS":
        return Response(b"", 204, {"Allow": methods}).http()
    if methods:
        error = RequestError(f"{request.method} is not allowed. Allowed: {methods}", kind="method_not_allowed")
        return problem_response(problem(error), Allow=methods).http()
    error = RequestError("this URL does not exist; openapi.json lists all endpoints", kind="not_found")
    return problem_response(problem(error)).http()


def _matches(path: list[str], segments: list[str]) -> bool:
    return len(path) == len(segments) and all(
        part.startswith("{") or part == segment for part, segment in zip(path, segments, strict=True)
    )
