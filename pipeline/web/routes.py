"""The API as a table: which function answers what, and what it takes and gives. OpenAPI is made of the same table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import azure.functions as func
from pydantic import BaseModel

from pipeline.services import Services
from pipeline.web import failures, health, images, jobs, openapi, pool, preview, recipes, stats, submit
from pipeline.web.documents import AcceptedDocument, JobDocument, JobsDocument
from pipeline.web.http import Answer, Call, answered, refused
from pipeline.web.problems import BadRequest, problem
from pipeline.web.submissions import JobRequest

IMAGES = ("image/jpeg", "image/png", "image/webp", "image/avif", "image/gif")
SOURCES = (*IMAGES, "image/tiff", "image/bmp", "image/heif", "application/octet-stream")
Handler = Callable[[Services, Call], Awaitable[Answer]]


@dataclass(frozen=True)
class Route:
    """One operation. `answers` are the documents or the media types by status, `refusals` the statuses of problems."""

    name: str
    method: str
    path: str
    handle: Handler
    summary: str
    answers: Mapping[int, type[BaseModel] | tuple[type[BaseModel] | str, ...]]
    refusals: tuple[int, ...] = ()
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    form: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def parameters(self) -> list[str]:
        """The names in the path."""
        return [part.strip("{}") for part in self.path.split("/") if part.startswith("{")]


SUBMIT_HEADERS = {
    "Prefer": "`wait=SECONDS` or `respond-async` (RFC 7240): how long to wait for the job.",
    "Idempotency-Key": "The same key with the same request leads to the same job.",
}
ROUTES: tuple[Route, ...] = (
    Route(
        name="submit_job",
        method="POST",
        path="jobs",
        handle=submit.submit,
        summary="Do a job: for a blob that is there, or for an image in the request.",
        answers={200: (JobDocument, *IMAGES), 202: AcceptedDocument},
        refusals=(400, 403, 404, 409, 413, 415, 422, 503, 504),
        body=JobRequest,
        form=("recipe",),
        headers=SUBMIT_HEADERS,
    ),
    Route(
        name="list_jobs",
        method="GET",
        path="jobs",
        handle=jobs.show_all,
        summary="A page of jobs, by state, recipe, run or the start of their sources' names.",
        answers={200: JobsDocument},
        refusals=(400, 503),
        query=jobs.JobsQuery,
    ),
    Route(
        name="show_job",
        method="GET",
        path="jobs/{id}",
        handle=jobs.show,
        summary="What happened to a job.",
        answers={200: JobDocument},
        refusals=(400, 404, 503),
    ),
    Route(
        name="dismiss_job",
        method="DELETE",
        path="jobs/{id}",
        handle=jobs.dismiss,
        summary="Let a failure be, or take a waiting job back.",
        answers={200: JobDocument},
        refusals=(400, 404, 409, 503),
    ),
    Route(
        name="retry_job",
        method="POST",
        path="jobs/{id}/retry",
        handle=jobs.retry,
        summary="Have a job done once more, whatever came of it.",
        answers={202: JobDocument},
        refusals=(400, 403, 404, 409, 422, 503),
    ),
    Route(
        name="fetch_rendition",
        method="GET",
        path="jobs/{id}/renditions/{name}",
        handle=images.rendition,
        summary="A rendition of a job.",
        answers={200: IMAGES, 304: ()},
        refusals=(400, 404, 422, 503),
        headers={"If-None-Match": "ETags of renditions that are known already."},
    ),
    Route(
        name="fetch_source",
        method="GET",
        path="jobs/{id}/source",
        handle=images.source,
        summary="The version of the source that a job was about.",
        answers={200: SOURCES},
        refusals=(400, 404, 409, 422, 503),
    ),
    Route(
        name="list_failures",
        method="GET",
        path="failures",
        handle=failures.show,
        summary="The failures by their kind, the most frequent first.",
        answers={200: failures.FailuresDocument},
        refusals=(400, 503),
        query=failures.FailuresQuery,
    ),
    Route(
        name="retry_failures",
        method="POST",
        path="failures/retry",
        handle=failures.retry,
        summary="Have all failures of a kind done once more, as many as one request may take.",
        answers={200: failures.RetriedDocument},
        refusals=(400, 413, 415, 503),
        body=failures.RetryRequest,
    ),
    Route(
        name="list_recipes",
        method="GET",
        path="recipes",
        handle=recipes.show,
        summary="The recipes, what each does, and its hash.",
        answers={200: recipes.RecipesDocument},
    ),
    Route(
        name="show_recipe_schema",
        method="GET",
        path="recipes/schema",
        handle=recipes.show_schema,
        summary="The JSON Schema of recipes, with every transform and format.",
        answers={200: ("application/schema+json",)},
    ),
    Route(
        name="preview_recipe",
        method="POST",
        path="preview",
        handle=preview.show,
        summary="What a recipe makes of an image; nothing of it is kept.",
        answers={200: (preview.PreviewDocument, *IMAGES)},
        refusals=(400, 403, 413, 415, 422, 503, 504),
        form=("recipe", "text"),
    ),
    Route(
        name="show_pool",
        method="GET",
        path="pool",
        handle=pool.show,
        summary="The slots of the session pool and their states.",
        answers={200: pool.PoolDocument},
        refusals=(503,),
    ),
    Route(
        name="recycle_slot",
        method="POST",
        path="pool/slots/{number}/recycle",
        handle=pool.recycle,
        summary="A new session for a slot, as soon as its jobs are through.",
        answers={200: pool.RecycledDocument, 202: pool.RecycledDocument},
        refusals=(400, 404, 409, 503),
    ),
    Route(
        name="show_stats",
        method="GET",
        path="stats",
        handle=stats.show,
        summary="Figures by the minute, the queue, the slots.",
        answers={200: stats.StatsDocument},
        refusals=(400, 503),
        query=stats.StatsQuery,
    ),
    Route(
        name="show_health",
        method="GET",
        path="health",
        handle=health.show_health,
        summary="Whether everything that jobs need is well; 503 when it is not, with the reasons.",
        answers={200: health.HealthDocument, 503: health.HealthDocument},
    ),
    Route(
        name="show_version",
        method="GET",
        path="version",
        handle=health.show_version,
        summary="What this app is, and the limits that it holds everything to.",
        answers={200: health.VersionDocument},
    ),
)


async def _openapi(_: Services, call: Call) -> Answer:
    """`GET /api/openapi.json`: this table, for machines."""
    return Answer(openapi.document(TABLE, call.links))


TABLE = (
    *ROUTES,
    Route(
        name="show_openapi",
        method="GET",
        path="openapi.json",
        handle=_openapi,
        summary="This description.",
        answers={200: openapi.OpenApiDocument},
    ),
)


async def answer(route: Route, services: Callable[[], Services], request: func.HttpRequest) -> func.HttpResponse:
    """The answer to a request on a route."""
    about: dict[str, Any] = {"job": request.route_params["id"]} if route.path.startswith("jobs/{id}") else {}
    return await answered(lambda: route.handle(services(), Call(request, route.path)), **about)


async def elsewhere(request: func.HttpRequest) -> func.HttpResponse:
    """The answer to a request on no route: the address is wrong, or the method."""
    asked = (request.route_params.get("path") or "").strip("/").lower().split("/")
    methods = ", ".join(sorted(route.method for route in TABLE if _fits(route.path.lower().split("/"), asked)))
    if methods:
        error = BadRequest(f"{request.method} is not for this address: {methods}", kind="method_not_allowed")
        return refused(problem(error), Allow=methods).http()
    error = BadRequest("there is nothing at this address; openapi.json has all there is", kind="no_such_address")
    return refused(problem(error)).http()


def _fits(path: list[str], asked: list[str]) -> bool:
    return len(path) == len(asked) and all(
        part.startswith("{") or part == given for part, given in zip(path, asked, strict=True)
    )
