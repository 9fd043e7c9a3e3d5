"""HTTP handlers of jobs and failures: show, list page by page with a cursor, retry and dismiss."""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import Field

from pipeline.api.http import RETRY_AFTER_SECONDS, Request, Response
from pipeline.api.schemas import JobDocument, JobsDocument, PrintableText, RecipeName
from pipeline.errors import PipelineError, StateConflict
from pipeline.jobs.actions import JobActions
from pipeline.monitoring.document import Document
from pipeline.recipes import adhoc
from pipeline.storage import JobKey, State


class JobsQuery(Document):
    """Filters of a list of jobs; a job must match all of them."""

    state: State | None = None
    recipe: RecipeName | None = None
    """A recipe, present or former; `_adhoc` for all recipes of requests."""
    prefix: PrintableText = ""
    """Start of the source's name. With a prefix, jobs are sorted by name; without one, newest first."""
    container: PrintableText = ""
    """Container of the prefix; the input container by default."""
    run: Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9_.-]*$")] = ""
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, Field(max_length=8192, pattern=r"^[A-Za-z0-9_=-]*$")] = ""
    """Position at which the page starts; contained in the URL `next` of the previous page."""


@dataclass(frozen=True)
class JobHandlers:
    """Handlers of jobs."""

    jobs: JobActions
    input_container: str

    async def show(self, request: Request) -> Response:
        """Handle `GET /api/jobs/{id}`: return a job."""
        return Response(JobDocument.of(await self.jobs.get(job_key(request)), request.links))

    async def list_page(self, request: Request) -> Response:
        """Handle `GET /api/jobs`: return a page of jobs. Raises InvalidCursor if the cursor is invalid."""
        query, links = request.query(JobsQuery), request.links
        is_adhoc = query.recipe is not None and adhoc.is_name(query.recipe)
        entries, cursor = await self.jobs.ledger.page(
            # The ledger lists the jobs of all ad-hoc recipes as one group.
            recipe=adhoc.GROUP if is_adhoc else query.recipe,
            state=query.state,
            container=query.container or (self.input_container if query.prefix else ""),
            prefix=query.prefix,
            run=query.run,
            limit=query.limit,
            cursor=query.cursor,
        )
        if is_adhoc:
            entries = [entry for entry in entries if entry.key.recipe == query.recipe]
        filters = {name: str(value) for name, value in query.model_dump(exclude_defaults=True).items()}
        page = JobsDocument(
            jobs=[JobDocument.of(entry, links, listed=True) for entry in entries],
            next=links.to("jobs", **{**filters, "cursor": cursor}) if cursor else None,
        )
        return Response(page)

    async def retry(self, request: Request) -> Response:
        """Handle `POST /api/jobs/{id}/retry`: queue a job again, in any state except queued and running."""
        entry = await self.jobs.retry(job_key(request))
        headers = {"Location": request.links.to("jobs", entry.key.id), "Retry-After": str(RETRY_AFTER_SECONDS)}
        return Response(JobDocument.of(entry, request.links), 202, headers)

    async def dismiss(self, request: Request) -> Response:
        """Handle `DELETE /api/jobs/{id}`: dismiss a failed job, or cancel a queued one."""
        return Response(JobDocument.of(await self.jobs.dismiss(job_key(request)), request.links))


def job_key(request: Request) -> JobKey:
    """Return the key of the job in the URL. Raises StateConflict of kind `unknown_job` if it is not a job id."""
    job_id = request.parameter("id")
    if len(job_id) > 4096:
        raise StateConflict(f"there is no job {job_id[:200]}", kind="unknown_job")
    return JobKey.parse(job_id)


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
