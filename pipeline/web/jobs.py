"""Jobs over HTTP: look at one, look for some, do one again, do without one."""

from __future__ import annotations

from pipeline.errors import JobOvertaken
from pipeline.services import Services
from pipeline.storage.keys import JobKey
from pipeline.storage.ledger import Entry
from pipeline.web.documents import JobDocument
from pipeline.web.http import Answer, Call


async def show(services: Services, call: Call) -> Answer:
    """`GET /api/jobs/{id}`: what happened to a job."""
    return Answer(JobDocument.of(await find(services, call), call.links))


async def find(services: Services, call: Call) -> Entry:
    """The row of the job in the address. PipelineError of kind `unknown_job` when there is none."""
    job_id = call.parameter("id")
    entry = await services.ledger.get(JobKey.parse(job_id))
    if entry is None:
        raise JobOvertaken(f"there is no job {job_id[:200]}", kind="unknown_job")
    return entry
