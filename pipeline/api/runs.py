"""Runs over HTTP: planned, started, followed, cancelled, resumed."""

from __future__ import annotations

import hashlib
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field

from pipeline.api import idempotency
from pipeline.api.http import Request, Response
from pipeline.api.jobs import QUERY
from pipeline.api.links import Links
from pipeline.api.schemas import DOCUMENT
from pipeline.runs import Estimate, Plan, Progress, Run, Selection
from pipeline.runs.model import RunState
from pipeline.services import Services

# A plan of millions takes several requests; each leaves off in time to be answered.
PLAN_SECONDS = 60.0
Id = Annotated[str, Field(max_length=60)]
Jobs = Annotated[int, Field(ge=1, le=1_000_000_000)]


class PlanRequest(BaseModel):
    """What to plan, or the marker of a plan to go on with."""

    model_config = QUERY

    selection: Selection = Selection()
    marker: Id | None = None
    """Of a plan that is not complete; the selection is then that plan's own."""


class PlanDocument(BaseModel):
    """What a run would do, and what it would take. Nothing has been done yet."""

    model_config = DOCUMENT

    id: str
    selection: Selection
    created: datetime
    complete: bool
    """Whether every source has been looked at; if not, ask again with the marker."""
    marker: str | None
    sources: int
    jobs: int
    bytes: int
    reasons: dict[str, int]
    """How many jobs are due for which reason."""
    recipes: dict[str, int]
    estimate: Estimate
    start: str
    """Where to start it, with `{"plan": ID}`."""

    @classmethod
    def of(cls, plan: Plan, links: Links) -> Self:
        """A plan as a document."""
        shown = {name: getattr(plan, name) for name in cls.model_fields if name != "start"}
        return cls(**shown, start=links.to("runs"))


class StartRequest(BaseModel):
    """Which plan to start; or, without one, a selection and how many jobs it is expected to be."""

    model_config = QUERY

    plan: Id | None = None
    selection: Selection | None = None
    expected_count: Jobs | None = None
    max_jobs: Jobs | None = None
    """A cap below that of the settings."""
    max_cost: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """A cap below that of the settings, in the currency of the price settings."""

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits over everything that is asked for."""
        return hashlib.sha256(f"run {self.model_dump_json()}".encode()).hexdigest()


class ResumeRequest(BaseModel):
    """How to go on."""

    model_config = QUERY

    max_jobs: Jobs | None = None
    """Raises what the run may find, where it has stopped for that."""


class RunDocument(BaseModel):
    """A run and how far it is: exact when it is done."""

    model_config = DOCUMENT

    id: str
    href: str
    state: RunState
    why: str
    """Why it stopped, when it did."""
    selection: Selection
    plan: str | None
    scheduled: bool
    expected: int | None
    most: int
    """How many jobs it may find before it stops."""
    sources: int
    found: int
    listed: bool
    """Whether all jobs have been found."""
    progress: Progress
    created: datetime
    finished: datetime | None
    jobs: str
    """Where its jobs are, one by one."""

    @classmethod
    def of(cls, run: Run, links: Links) -> Self:
        """A run as a document."""
        own = ("href", "jobs")
        shown: dict[str, Any] = {name: getattr(run, name) for name in cls.model_fields if name not in own}
        return cls(**shown, href=links.to("runs", run.id), jobs=links.to("jobs", run=run.id))


class RunsQuery(BaseModel):
    """Which page of runs."""

    model_config = QUERY

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    token: Annotated[str, Field(max_length=500, pattern=r"^[A-Za-z0-9_=-]*$")] = ""
    """Where to go on: comes with the page before, in its `next`."""


class RunsDocument(BaseModel):
    """A page of runs, the newest first."""

    model_config = DOCUMENT

    runs: list[RunDocument]
    next: str | None


async def plan(services: Services, call: Request) -> Response:
    """`POST /api/runs/plan`: what a run would do."""
    asked = call.json(PlanRequest)
    found = await services.planner.plan(asked.selection, marker=asked.marker, budget_seconds=PLAN_SECONDS)
    return Response(PlanDocument.of(found, call.links))


async def start(services: Services, call: Request) -> Response:
    """`POST /api/runs`: start what was planned; with an Idempotency-Key, once."""
    asked = call.json(StartRequest)
    text = idempotency.checked(call.header("idempotency-key"))
    key = idempotency.Key(text, asked.fingerprint) if text else None
    run = await _begun(services, key) if key else None
    before = run is not None
    if run is None:
        run = await services.runs.start(
            asked.selection,
            plan_id=asked.plan,
            expected_count=asked.expected_count,
            max_jobs=asked.max_jobs,
            max_cost=asked.max_cost,
            reserve_id=partial(_settled, services, key) if key else None,
        )
    document = RunDocument.of(run, call.links)
    return Response(document, 200 if before else 201, {"Location": document.href})


async def _begun(services: Services, key: idempotency.Key) -> Run | None:
    """The run that a key stands for, if it was begun."""
    found = await idempotency.known(services, key)
    return await services.runs.find(found["run"]) if found else None


async def _settled(services: Services, key: idempotency.Key, run_id: str) -> str:
    """The id of the run that a key stands for."""
    found, _ = await idempotency.settle(services, key, {"run": run_id})
    return str(found["run"])


async def show(services: Services, call: Request) -> Response:
    """`GET /api/runs/{id}`: how far a run is."""
    return Response(RunDocument.of(await services.runs.get(call.parameter("id")), call.links))


async def show_all(services: Services, call: Request) -> Response:
    """`GET /api/runs`: a page of runs."""
    asked = call.query(RunsQuery)
    return Response(await page(services, asked.limit, asked.token, call.links))


async def page(services: Services, limit: int, token: str, links: Links) -> RunsDocument:
    """The newest runs, and where the next ones are. RequestError when the token is none."""
    found, following = await services.runs.list_runs(limit, token)
    following_page = links.to("runs", limit=str(limit), token=following) if following else None
    return RunsDocument(runs=[RunDocument.of(run, links) for run in found], next=following_page)


async def cancel(services: Services, call: Request) -> Response:
    """`POST /api/runs/{id}/cancel`: jobs under way end, no others begin."""
    return Response(RunDocument.of(await services.runs.cancel(call.parameter("id")), call.links))


async def resume(services: Services, call: Request) -> Response:
    """`POST /api/runs/{id}/resume`: bring a run back to work."""
    asked = call.json(ResumeRequest)
    run = await services.runs.resume(call.parameter("id"), max_jobs=asked.max_jobs)
    return Response(RunDocument.of(run, call.links), 202, {"Location": call.links.to("runs", run.id)})
