"""Contract of each route: its parameters, bodies, documents and problems. The OpenAPI document is generated from them.

They stand apart from the table of routes, because they name all models: a request loads those of its own route alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, RootModel

from pipeline.api import jobs, monitoring, pauses, recipes, runs
from pipeline.api.schemas import JobDocument, JobsDocument, WaitingDocument
from pipeline.api.submit import JobRequest
from pipeline.monitoring.health import Health, VersionInfo
from pipeline.monitoring.pool_overview import RecycleResult, Statistics

IMAGES = ("image/jpeg", "image/png", "image/webp", "image/avif", "image/gif")
SOURCES = (*IMAGES, "image/tiff", "image/bmp", "image/heif", "application/octet-stream")
IDEMPOTENCY_HEADERS = {
    "Idempotency-Key": "The same key with the same request returns the job or run that the first request started."
}
SUBMIT_HEADERS = {
    "Prefer": "`wait=SECONDS` or `respond-async` (RFC 7240): time to wait for the end of the job.",
    **IDEMPOTENCY_HEADERS,
}


class OpenApiDocument(RootModel[dict[str, Any]]):
    """An OpenAPI document."""


@dataclass(frozen=True)
class Contract:
    """Requests and responses of a route.

    `responses` are documents or media types by status; `problems` are the statuses of problems.
    """

    responses: Mapping[int, type[BaseModel] | tuple[type[BaseModel] | str, ...]]
    problems: tuple[int, ...] = ()
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    form: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


CONTRACTS: Mapping[str, Contract] = {
    "submit_job": Contract(
        responses={200: (JobDocument, *IMAGES), 202: WaitingDocument},
        problems=(400, 403, 404, 406, 409, 411, 413, 415, 422, 503, 504),
        body=JobRequest,
        form=("recipe", "tenant"),
        headers=SUBMIT_HEADERS,
    ),
    "list_jobs": Contract(
        responses={200: JobsDocument},
        problems=(400, 503),
        query=jobs.JobsQuery,
    ),
    "show_job": Contract(
        responses={200: JobDocument},
        problems=(400, 404, 503),
    ),
    "dismiss_job": Contract(
        responses={200: JobDocument},
        problems=(400, 404, 409, 503),
    ),
    "retry_job": Contract(
        responses={202: JobDocument},
        problems=(400, 403, 404, 409, 422, 503),
    ),
    "fetch_rendition": Contract(
        responses={200: IMAGES, 304: ()},
        problems=(400, 404, 422, 503),
        headers={"If-None-Match": "ETags of cached renditions."},
    ),
    "fetch_source": Contract(
        responses={200: SOURCES},
        problems=(400, 404, 409, 422, 503),
    ),
    "list_failures": Contract(
        responses={200: jobs.FailuresDocument},
        problems=(400, 503),
        query=jobs.FailuresQuery,
    ),
    "retry_failures": Contract(
        responses={200: jobs.RetriedDocument},
        problems=(400, 411, 413, 415, 503),
        body=jobs.RetryRequest,
    ),
    "plan_run": Contract(
        responses={200: runs.PlanDocument},
        problems=(400, 404, 409, 411, 413, 415, 422, 503),
        body=runs.PlanRequest,
    ),
    "start_run": Contract(
        responses={200: runs.RunDocument, 201: runs.RunDocument},
        problems=(400, 404, 409, 411, 413, 415, 422, 503),
        body=runs.StartRequest,
        headers=IDEMPOTENCY_HEADERS,
    ),
    "list_runs": Contract(
        responses={200: runs.RunsDocument},
        problems=(400, 503),
        query=runs.RunsQuery,
    ),
    "show_run": Contract(
        responses={200: runs.RunDocument},
        problems=(400, 404, 503),
    ),
    "cancel_run": Contract(
        responses={200: runs.RunDocument},
        problems=(400, 404, 409, 503),
    ),
    "resume_run": Contract(
        responses={202: runs.RunDocument},
        problems=(400, 404, 409, 411, 413, 415, 422, 503),
        body=runs.ResumeRequest,
    ),
    "list_recipes": Contract(
        responses={200: recipes.RecipesDocument},
    ),
    "show_recipe_schema": Contract(
        responses={200: ("application/schema+json",)},
    ),
    "preview_recipe": Contract(
        responses={200: (recipes.PreviewDocument, *IMAGES)},
        problems=(400, 403, 404, 406, 411, 413, 415, 422, 503, 504),
        form=("recipe", "text"),
    ),
    "show_pool": Contract(
        responses={200: monitoring.PoolDocument},
        problems=(503,),
    ),
    "recycle_slot": Contract(
        responses={200: RecycleResult, 202: RecycleResult},
        problems=(400, 404, 409, 503),
    ),
    "pause_work": Contract(
        responses={200: pauses.PausesDocument},
        problems=(400, 411, 413, 415, 503),
        body=pauses.PauseRequest,
    ),
    "resume_work": Contract(
        responses={200: pauses.PausesDocument},
        problems=(400, 411, 413, 415, 503),
        body=pauses.PauseRequest,
    ),
    "show_stats": Contract(
        responses={200: Statistics},
        problems=(400, 503),
        query=monitoring.StatsQuery,
    ),
    "show_health": Contract(
        responses={200: Health, 503: Health},
    ),
    "show_version": Contract(
        responses={200: VersionInfo},
    ),
    "show_openapi": Contract(
        responses={200: OpenApiDocument},
    ),
}
