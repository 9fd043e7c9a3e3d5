"""Plan runs: compare every source of a selection with the ledger, page by page, without executing any job."""

import heapq
import secrets
import time
from collections import Counter
from dataclasses import dataclass

from pipeline.errors import RequestError, StateConflict
from pipeline.runs.estimates import Estimator
from pipeline.runs.model import Plan, is_id, key_of, now
from pipeline.runs.selection import Due, JobFinder, Reason, Selection
from pipeline.storage import Document, RunStore
from pipeline.telemetry import logger

log = logger(__name__)


@dataclass(frozen=True)
class RunPlanner:
    """Make and store plans."""

    store: RunStore
    finder: JobFinder
    estimator: Estimator

    async def plan(
        self, selection: Selection, *, marker: str | None = None, budget_seconds: float | None = None
    ) -> Plan:
        """Count and price the jobs that a run of this selection would execute.

        Args:
            selection: The jobs to plan. With a marker, the selection of that plan is used instead.
            marker: The marker of an incomplete plan; planning continues from there.
            budget_seconds: The time after which planning pauses. The plan then has a marker for the next call.

        Raises:
            RequestError: There is no plan with this marker.
            StateConflict: Another caller continued the plan, or the recipe versions have changed since it started.
        """
        document, plan = await self._start(selection, marker)
        if mismatch := self.finder.version_mismatch(plan.selection, plan.recipe_versions, plan.deployment):
            raise StateConflict(f"plan {plan.id}: {mismatch}, or make a new plan", kind="plan_changed")
        started = time.monotonic()
        measured = await self.estimator.measured()
        while True:
            page = await self.finder.page(plan.selection, plan.at)
            marker = plan.id if page.offset else None
            plan = _add_page(plan, page.sources, page.jobs).model_copy(update={"at": page.offset, "marker": marker})
            if not page.offset or (budget_seconds is not None and time.monotonic() - started >= budget_seconds):
                break
        jobs, renditions = Counter(plan.recipes), Counter(plan.renditions)
        plan = plan.model_copy(update={"estimate": self.estimator.estimate(jobs, renditions, measured)})
        if await self.store.replace("plan", key_of(plan.id), document, plan.model_dump(mode="json")) is None:
            raise StateConflict(f"plan {plan.id} was continued by another caller: load it again", kind="plan_changed")
        log.info("plan %s: %d jobs of %d sources", plan.id, plan.jobs, plan.sources, extra={"event": "run.planned"})
        return plan

    async def get(self, plan_id: str) -> Plan:
        """Return a stored plan. Raises RequestError if there is none."""
        return Plan.read((await self._stored(plan_id)).content)

    async def _start(self, selection: Selection, marker: str | None) -> tuple[Document, Plan]:
        if marker:
            document = await self._stored(marker)
            return document, Plan.read(document.content)
        versions = self.finder.recipe_versions(selection)
        deployment = self.finder.ledger.deployment
        plan = Plan(id=new_id(), selection=selection, marker="", recipe_versions=versions, deployment=deployment)
        created = await self.store.create("plan", key_of(plan.id), plan.model_dump(mode="json"))
        if created is None:
            raise AssertionError("two plans have one id")
        return created, plan

    async def _stored(self, plan_id: str) -> Document:
        document = await self.store.get("plan", key_of(plan_id)) if is_id(plan_id) else None
        if document is None:
            raise RequestError(f"there is no plan {plan_id[:60]!r}: make a new one", kind="unknown_plan")
        return document


def new_id() -> str:
    """Return the id of a new plan or run: its time, and 24 random bits."""
    return f"{now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def _add_page(plan: Plan, sources: int, jobs: list[Due]) -> Plan:
    """Add the jobs of another page to the counts, or to the candidates of the sample."""
    plan = plan.model_copy(update={"sources": plan.sources + sources})
    rows = [(job.rank, job.reason, job.recipe.name, job.source.size) for job in jobs]
    renditions = {job.recipe.name: len(job.recipe.renditions) for job in jobs}
    if not plan.selection.sample:
        return _add_counts(plan, rows, renditions)
    candidates = heapq.nsmallest(plan.selection.sample, [*plan.candidates, *rows])
    per_job = {**{name: plan.renditions[name] // plan.recipes[name] for name in plan.recipes}, **renditions}
    empty = plan.model_copy(
        update={"jobs": 0, "bytes": 0, "reasons": {}, "recipes": {}, "renditions": {}, "candidates": candidates}
    )
    return _add_counts(empty, candidates, per_job)


def _add_counts(plan: Plan, rows: list[tuple[str, Reason, str, int]], renditions_per_job: dict[str, int]) -> Plan:
    recipes = Counter(row[2] for row in rows)
    renditions = Counter({name: count * renditions_per_job[name] for name, count in recipes.items()})
    return plan.model_copy(
        update={
            "jobs": plan.jobs + len(rows),
            "bytes": plan.bytes + sum(row[3] for row in rows),
            "reasons": dict(Counter(plan.reasons) + Counter(row[1] for row in rows)),
            "recipes": dict(Counter(plan.recipes) + recipes),
            "renditions": dict(Counter(plan.renditions) + renditions),
        }
    )
