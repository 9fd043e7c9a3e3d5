"""HTTP handlers of failures: count them by kind, and retry all of a kind."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import Field

from pipeline.api.http import Request, Response
from pipeline.api.schemas import PrintableText, RecipeName
from pipeline.errors import PipelineError
from pipeline.jobs.actions import JobActions
from pipeline.monitoring.document import Document

# Limits of one request.
MAX_RETRIED_JOBS, RETRY_BUDGET_SECONDS = 1000, 100.0
# Kinds of errors after which a failure is skipped and the next one retried.
SKIPPED_KINDS = {"source_gone", "folder_marker", "unknown_recipe", "adhoc_not_allowed", "job_queued", "job_running"}


class FailuresQuery(Document):
    """Filter of the failures."""

    recipe: RecipeName | None = None


class FailureGroupDocument(Document):
    """The failures of one kind."""

    kind: str
    class_: str = Field(alias="class")
    """Class of the error, such as SourceError."""
    count: int
    stages: dict[str, int]
    """Number of failures by stage."""
    newest: datetime
    example: str
    """Source of the newest failure."""


class FailuresDocument(Document):
    """The failures by kind, most frequent first."""

    groups: list[FailureGroupDocument]
    jobs: str
    """URL of the list of failed jobs."""


class RetryRequest(FailuresQuery):
    """Filters of the failures to retry; a failure must match all of them. Without filters, every failure matches."""

    kind: Annotated[str, Field(max_length=40, pattern=r"^[a-z_]*$")] = ""
    prefix: PrintableText = ""
    """Start of the source's name."""


class RetriedDocument(Document):
    """Number of retried failures."""

    retried: int
    skipped: int
    """Failures that cannot be retried because their source or recipe is gone."""
    more: bool
    """True if there may be more failures: send the request again."""


@dataclass(frozen=True)
class FailureHandlers:
    """Handlers of failures."""

    jobs: JobActions

    async def show(self, request: Request) -> Response:
        """Handle `GET /api/failures`: return the failures by kind."""
        recipe = request.query(FailuresQuery).recipe
        groups = [
            FailureGroupDocument(
                kind=group.kind,
                **{"class": group.error_class},
                count=group.count,
                stages=group.stages,
                newest=group.newest,
                example=group.example,
            )
            for group in await self.jobs.ledger.failures_grouped(recipe=recipe)
        ]
        return Response(FailuresDocument(groups=groups, jobs=request.links.to("jobs", state="failed", recipe=recipe)))

    async def retry(self, request: Request) -> Response:
        """Handle `POST /api/failures/retry`: retry matching failures, at most 1,000 and for at most 100 s."""
        filters, deadline = request.json(RetryRequest), time.monotonic() + RETRY_BUDGET_SECONDS
        retried = skipped = 0
        failures = self.jobs.failures(recipe=filters.recipe, kind=filters.kind, prefix=filters.prefix)
        async for entry in failures:
            if retried + skipped >= MAX_RETRIED_JOBS or time.monotonic() > deadline:
                return Response(RetriedDocument(retried=retried, skipped=skipped, more=True))
            try:
                await self.jobs.retry(entry.key)
                retried += 1
            except PipelineError as error:
                if error.kind not in SKIPPED_KINDS:
                    raise
                skipped += 1
        return Response(RetriedDocument(retried=retried, skipped=skipped, more=False))
