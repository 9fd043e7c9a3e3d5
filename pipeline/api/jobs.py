"""Jobs over HTTP: look at one, look for some, do one again, do without one."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pipeline.api.http import Request, Response
from pipeline.api.links import Links
from pipeline.api.names import RecipeName
from pipeline.api.problems import RETRY_AFTER
from pipeline.api.schemas import JobDocument, JobsDocument
from pipeline.errors import StateConflict
from pipeline.recipes import adhoc
from pipeline.runs.selection import PRINTABLE
from pipeline.services import Services
from pipeline.storage.entry import Entry, State
from pipeline.storage.keys import JobKey

QUERY = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
Text = Annotated[str, Field(max_length=1024, pattern=PRINTABLE)]


class JobsQuery(BaseModel):
    """Which jobs: all of these at once."""

    model_config = QUERY

    state: State | None = None
    recipe: RecipeName | None = None
    """A recipe of the file, also one that it has no longer; `_adhoc` for all that came with requests."""
    prefix: Text = ""
    """What the names of the sources start with. With it, pages go by name, without it the newest come first."""
    container: Text = ""
    """The container that `prefix` is about; the input container, unless it says otherwise."""
    run: Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9_.-]*$")] = ""
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    token: Annotated[str, Field(max_length=8192, pattern=r"^[A-Za-z0-9_=-]*$")] = ""
    """Where to go on: comes with the page before, in its `next`."""


async def show(services: Services, call: Request) -> Response:
    """`GET /api/jobs/{id}`: what happened to a job."""
    return Response(JobDocument.of(await find(services, call), call.links))


async def show_all(services: Services, call: Request) -> Response:
    """`GET /api/jobs`: a page of jobs."""
    return Response(await page(services, call.query(JobsQuery), call.links))


async def page(services: Services, asked: JobsQuery, links: Links) -> JobsDocument:
    """The jobs that are asked for, and where the next ones are. BadToken when the token is none."""
    container = asked.container or (services.settings.input_container if asked.prefix else "")
    entries, token = await services.ledger.page(
        recipe=_partition(asked.recipe),
        state=asked.state,
        container=container,
        prefix=asked.prefix,
        run=asked.run,
        limit=asked.limit,
        cursor=asked.token,
    )
    if asked.recipe and adhoc.is_name(asked.recipe):
        entries = [entry for entry in entries if entry.key.recipe == asked.recipe]
    query = {name: str(value) for name, value in asked.model_dump(exclude_defaults=True).items()}
    return JobsDocument(
        jobs=[JobDocument.of(entry, links, listed=True) for entry in entries],
        next=links.to("jobs", **{**query, "token": token}) if token else None,
    )


async def retry(services: Services, call: Request) -> Response:
    """`POST /api/jobs/{id}/retry`: have a job done once more."""
    entry = await services.jobs.retry(_key(call))
    headers = {"Location": call.links.job(entry.key.id), "Retry-After": str(RETRY_AFTER)}
    return Response(JobDocument.of(entry, call.links), 202, headers)


async def dismiss(services: Services, call: Request) -> Response:
    """`DELETE /api/jobs/{id}`: let a failure be, or take a waiting job back."""
    return Response(JobDocument.of(await services.jobs.dismiss(_key(call)), call.links))


async def find(services: Services, call: Request) -> Entry:
    """The row of the job in the address. PipelineError of kind `unknown_job` when there is none."""
    return await services.jobs.get(_key(call))


def _key(call: Request) -> JobKey:
    job_id = call.parameter("id")
    if len(job_id) > 4096:
        raise StateConflict(f"there is no job {job_id[:200]}", kind="unknown_job")
    return JobKey.parse(job_id)


def _partition(recipe: str | None) -> str | None:
    """Where a recipe's jobs are listed: those of requests all in one place."""
    return adhoc.GROUP if recipe and adhoc.is_name(recipe) else recipe
