"""HTTP handlers of runs: plan, start, follow, list with a cursor, cancel and resume."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from pipeline.api.http import Links, Request, Response
from pipeline.api.idempotency import IdempotencyKey, IdempotencyKeys
from pipeline.monitoring.document import Document
from pipeline.runs import Estimate, Plan, Progress, Run, Selection
from pipeline.runs.lifecycle import RunController
from pipeline.runs.model import RunState
from pipeline.runs.planning import RunPlanner

# A plan of millions of sources takes several requests; each one responds after this time.
PLAN_BUDGET_SECONDS = 60.0
RunId = Annotated[str, Field(max_length=60)]
JobCount = Annotated[int, Field(ge=1, le=1_000_000_000)]


class SelectionRequest(Selection, extra="forbid"):
    """Filters for the jobs of a plan or a run, as a request gives them: without unknown fields."""

    def as_selection(self) -> Selection:
        """Return the selection, as plans and runs store it."""
        return Selection.model_validate(self.model_dump())


class PlanRequest(Document):
    """A selection to plan, or the marker of an incomplete plan to continue."""

    selection: SelectionRequest = SelectionRequest()
    marker: RunId | None = None
    """Marker of an incomplete plan, whose own selection is then used."""


class PlanDocument(Document):
    """The jobs that a run would execute, with time and cost. Nothing has been executed yet."""

    id: str
    selection: Selection
    created: datetime
    complete: bool
    """True if every source has been compared; if not, send another request with the marker."""
    marker: str | None
    sources: int
    written: int
    """Number of sources that were written after planning started. If it is not 0, a run may find other jobs."""
    jobs: int
    bytes: int
    reasons: dict[str, int]
    """Number of due jobs by reason."""
    recipes: dict[str, int]
    tenants: int
    """Number of tenants of the jobs with `isolation: tenant`."""
    single_jobs: int
    """Number of jobs that need a session each."""
    estimate: Estimate
    start: str
    """URL to start the run with POST and `{"plan": ID}`."""

    @classmethod
    def of(cls, plan: Plan, links: Links) -> Self:
        """Convert a plan."""
        fields = {name: getattr(plan, name) for name in cls.model_fields if name != "start"}
        return cls(**fields, start=links.to("runs"))


class StartRequest(Document):
    """A plan to start; or, without a plan, a selection and the expected number of jobs."""

    plan: RunId | None = None
    selection: SelectionRequest | None = None
    expected_count: JobCount | None = None
    max_jobs: JobCount | None = None
    """Cap on the number of jobs, below that of the settings."""
    max_cost: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """Cap on the cost, below that of the settings, in the currency of the price settings."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the request in 64 hexadecimal digits."""
        return hashlib.sha256(f"run {self.model_dump_json()}".encode()).hexdigest()


class ResumeRequest(Document):
    """Options to resume a run."""

    max_jobs: JobCount | None = None
    """Higher cap on the number of jobs, for a run that has left jobs at its cap (`more_due`)."""
    max_cost: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """Higher cap on the cost, for a run that has paused at its cap."""


class RunDocument(Document):
    """A run and its progress; the counts are exact when the run is done."""

    id: str
    href: str
    state: RunState
    why: str
    """Reason for which the run stopped, paused or left due jobs, if it did."""
    paused: Literal["", "cost"]
    """Kind of the cap that a paused run has reached; a user raises it and resumes the run."""
    max_cost: float | None
    """Cap on the cost that the request gave."""
    selection: Selection
    plan: str | None
    scheduled: bool
    expected: int | None
    most: int
    """Maximum number of jobs of the run."""
    sources: int
    found: int
    listed: bool
    """True if the run looks for no more jobs."""
    more_due: bool
    """True if the run has reached its maximum and has left other due jobs."""
    progress: Progress
    created: datetime
    finished: datetime | None
    jobs: str
    """URL of the list of its jobs."""

    @classmethod
    def of(cls, run: Run, links: Links) -> Self:
        """Convert a run."""
        fields: dict[str, Any] = {name: getattr(run, name) for name in cls.model_fields if name not in ("href", "jobs")}
        return cls(**fields, href=links.to("runs", run.id), jobs=links.to("jobs", run=run.id))


class RunsQuery(Document):
    """Query of a page of runs."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[str, Field(max_length=500, pattern=r"^[A-Za-z0-9_=-]*$")] = ""
    """Position at which the page starts; contained in the URL `next` of the previous page."""


class RunsDocument(Document):
    """A page of runs, newest first."""

    runs: list[RunDocument]
    next: str | None
    """URL of the next page, which contains the cursor; null on the last page."""


@dataclass(frozen=True)
class RunHandlers:
    """Handlers of runs."""

    runs: RunController
    planner: RunPlanner
    keys: IdempotencyKeys

    async def plan(self, request: Request) -> Response:
        """Handle `POST /api/runs/plan`: plan a run, or continue a plan."""
        body = request.json(PlanRequest)
        plan = await self.planner.plan(
            body.selection.as_selection(), marker=body.marker, budget_seconds=PLAN_BUDGET_SECONDS
        )
        return Response(PlanDocument.of(plan, request.links))

    async def start(self, request: Request) -> Response:
        """Handle `POST /api/runs`: start a run; only once with the same Idempotency-Key."""
        body = request.json(StartRequest)
        key = IdempotencyKey.of(request.header("idempotency-key"), body.fingerprint)
        target = await self.keys.find(key) if key else None
        existing = await self.runs.find(target["run"]) if target else None
        run = existing or await self.runs.start(
            body.selection.as_selection() if body.selection else None,
            plan_id=body.plan,
            expected_count=body.expected_count,
            max_jobs=body.max_jobs,
            max_cost=body.max_cost,
            reserve_id=partial(self._reserve_id, key) if key else None,
        )
        document = RunDocument.of(run, request.links)
        return Response(document, 200 if existing else 201, {"Location": document.href})

    async def _reserve_id(self, key: IdempotencyKey, run_id: str) -> str:
        """Reserve the id of a new run under a key; return the id that the key already has, if any."""
        target, _ = await self.keys.reserve(key, {"run": run_id})
        return str(target["run"])

    async def show(self, request: Request) -> Response:
        """Handle `GET /api/runs/{id}`: return a run with its progress."""
        return Response(RunDocument.of(await self.runs.get(request.parameter("id")), request.links))

    async def list_page(self, request: Request) -> Response:
        """Handle `GET /api/runs`: return a page of runs. Raises InvalidCursor if the cursor is invalid."""
        query, links = request.query(RunsQuery), request.links
        runs, cursor = await self.runs.list_runs(query.limit, query.cursor)
        following = links.to("runs", limit=str(query.limit), cursor=cursor) if cursor else None
        return Response(RunsDocument(runs=[RunDocument.of(run, links) for run in runs], next=following))

    async def cancel(self, request: Request) -> Response:
        """Handle `POST /api/runs/{id}/cancel`: stop a run; its running jobs end, no others start."""
        return Response(RunDocument.of(await self.runs.cancel(request.parameter("id")), request.links))

    async def resume(self, request: Request) -> Response:
        """Handle `POST /api/runs/{id}/resume`: continue a run; ended jobs are not executed again."""
        body = request.json(ResumeRequest)
        run = await self.runs.resume(request.parameter("id"), max_jobs=body.max_jobs, max_cost=body.max_cost)
        return Response(RunDocument.of(run, request.links), 202, {"Location": request.links.to("runs", run.id)})
