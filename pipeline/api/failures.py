"""Failures over HTTP: what goes wrong how often, and all of a kind done once more."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from pipeline.api.http import Request, Response
from pipeline.api.jobs import QUERY, Text
from pipeline.api.links import Links
from pipeline.api.names import RecipeName
from pipeline.api.schemas import DOCUMENT
from pipeline.errors import PipelineError
from pipeline.services import Services

# What one request retries at most, and for how many seconds.
MOST, LONGEST = 1000, 100.0


class FailuresQuery(BaseModel):
    """Which failures."""

    model_config = QUERY

    recipe: RecipeName | None = None


class FailureGroupDocument(BaseModel):
    """Failures of one kind."""

    model_config = DOCUMENT

    kind: str
    class_: str = Field(alias="class")
    """Where the kind stands in the tree of errors."""
    count: int
    stages: dict[str, int]
    """How many at which stage."""
    newest: datetime
    example: str
    """The source of the newest one."""


class FailuresDocument(BaseModel):
    """The failures by their kind, the most frequent first."""

    model_config = DOCUMENT

    groups: list[FailureGroupDocument]
    jobs: str
    """Where they are one by one."""


class RetryRequest(BaseModel):
    """Which failures are to be tried once more: all of these at once; nothing at all means every failure."""

    model_config = QUERY

    recipe: RecipeName | None = None
    kind: Annotated[str, Field(max_length=40, pattern=r"^[a-z_]*$")] = ""
    prefix: Text = ""


class RetriedDocument(BaseModel):
    """How many were asked for again."""

    model_config = DOCUMENT

    retried: int
    skipped: int
    """Those that cannot be done any more: their source or their recipe is gone."""
    more: bool
    """Whether there may be more: then ask again."""


async def grouped(services: Services, recipe: str | None, links: Links) -> FailuresDocument:
    """The failures by their kind."""
    groups = [
        FailureGroupDocument(
            kind=group.kind,
            **{"class": group.error_class},
            count=group.count,
            stages=group.stages,
            newest=group.newest,
            example=group.example,
        )
        for group in await services.ledger.failures_grouped(recipe=recipe)
    ]
    return FailuresDocument(groups=groups, jobs=links.to("jobs", state="failed", recipe=recipe))


async def show(services: Services, call: Request) -> Response:
    """`GET /api/failures`: the failures by their kind."""
    return Response(await grouped(services, call.query(FailuresQuery).recipe, call.links))


async def retry(services: Services, call: Request) -> Response:
    """`POST /api/failures/retry`: have all failures of a kind done once more, as many as one request may take."""
    return Response(await retried(services, call.json(RetryRequest)))


async def retried(services: Services, asked: RetryRequest) -> RetriedDocument:
    """Retry the failures that are asked for, for a while."""
    ends, retried, skipped = time.monotonic() + LONGEST, 0, 0
    found = services.jobs.failures(recipe=asked.recipe, kind=asked.kind, prefix=asked.prefix)
    async for entry in found:
        if retried + skipped >= MOST or time.monotonic() > ends:
            return RetriedDocument(retried=retried, skipped=skipped, more=True)
        try:
            await services.jobs.retry(entry.key)
            retried += 1
        except PipelineError as error:
            if error.kind not in ("source_gone", "unknown_recipe", "adhoc_not_allowed", "job_queued", "job_running"):
                raise
            skipped += 1
    return RetriedDocument(retried=retried, skipped=skipped, more=False)
