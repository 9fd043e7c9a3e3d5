"""Plan runs: compare every source of a selection with the ledger, page by page, without executing any job.

Large selections are planned by several processes: the parts of a plan are ranges of names (see `plan_parts`). A message
of the run queue calls other processes; the caller works, too, so that a plan needs no running app.
"""

import asyncio
import heapq
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.concurrency import gather_or_cancel
from pipeline.errors import RequestError, StateConflict
from pipeline.runs.estimates import Estimator
from pipeline.runs.model import Plan, is_id, key_of, now
from pipeline.runs.plan_parts import PlanParts, StoredPart, claim_end
from pipeline.runs.selection import Due, JobFinder, Reason, Selection
from pipeline.runs.tenants import add_tenants, merged_tenants
from pipeline.storage import Document, JobQueue, RunStore, RunWork
from pipeline.telemetry import logger

log = logger(__name__)
# A plan of several pages calls this many other processes.
HELPERS = 3
# A process of the app helps for this long; then a message calls the next one.
HELP_SECONDS = 120.0
# Interval at which a caller looks for the end of the parts on which others work.
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class RunPlanner:
    """Make and store plans."""

    store: RunStore
    finder: JobFinder
    estimator: Estimator
    queue: JobQueue

    @property
    def parts(self) -> PlanParts:
        """The parts of plans."""
        return PlanParts(self.store, self.finder)

    async def plan(
        self, selection: Selection, *, marker: str | None = None, budget_seconds: float | None = None
    ) -> Plan:
        """Count and price the jobs that a run of this selection would execute.

        Args:
            selection: The jobs to plan. With a marker, the selection of that plan is used instead.
            marker: The marker of an incomplete plan; planning continues from there.
            budget_seconds: The time after which this call returns. The plan then has a marker for the next call.

        Raises:
            RequestError: There is no plan with this marker.
            StateConflict: The recipe versions have changed since planning started.
        """
        plan = Plan.read((await self._stored(marker)).content) if marker else await self._create(selection)
        if plan.complete:
            return plan
        if mismatch := self.finder.version_mismatch(plan.selection, plan.recipe_versions, plan.deployment):
            raise StateConflict(f"plan {plan.id}: {mismatch}, or make a new plan", kind="plan_changed")
        deadline = None if budget_seconds is None else time.monotonic() + budget_seconds
        while not await self._work(plan, deadline):
            if deadline is not None and time.monotonic() + POLL_SECONDS >= deadline:
                break
            await asyncio.sleep(POLL_SECONDS)  # other processes work on the last parts
        return await self._merge(plan)

    async def help(self, plan_id: str) -> None:
        """Work on a plan of another process, for up to two minutes; then queue a message for the rest."""
        document = await self.store.get("plan", key_of(plan_id))
        plan = Plan.read(document.content) if document else None
        if plan is None or plan.complete:
            return
        if self.finder.version_mismatch(plan.selection, plan.recipe_versions, plan.deployment):
            return  # the caller gets the error
        deadline = time.monotonic() + HELP_SECONDS
        await self._work(plan, deadline)
        merged = await self._merge(plan)
        if not merged.complete and time.monotonic() >= deadline:
            await self.queue.send(RunWork(run=plan.id, plan=True))

    async def get(self, plan_id: str) -> Plan:
        """Return a stored plan, with its counts so far. Raises RequestError if there is none."""
        plan = Plan.read((await self._stored(plan_id)).content)
        return plan if plan.complete else await self._merged(plan)

    async def _create(self, selection: Selection) -> Plan:
        versions = self.finder.recipe_versions(selection)
        deployment = self.finder.ledger.deployment
        plan = Plan(id=new_id(), selection=selection, recipe_versions=versions, deployment=deployment)
        plan = plan.model_copy(update={"marker": plan.id})
        if await self.store.create("plan", key_of(plan.id), plan.model_dump(mode="json")) is None:
            raise AssertionError("two plans have one id")
        return plan

    async def _work(self, plan: Plan, deadline: float | None) -> bool:
        """Work on free parts until there are none, or until the deadline; return True if all parts are done."""
        owner = secrets.token_hex(8)
        while True:
            parts = await self.parts.load(plan)
            if all(each.part.done for each in parts):
                return True
            claimed = await self.parts.claim(parts, owner)
            if claimed:
                await self._work_on(plan, claimed, deadline)
            elif not await self.parts.divide(plan, parts):
                return False
            if deadline is not None and time.monotonic() >= deadline:
                return False

    async def _work_on(self, plan: Plan, claimed: StoredPart, deadline: float | None) -> None:
        """Plan the sources of a part page by page, until it is done, another process has it, or the deadline."""
        current: StoredPart | None = claimed
        while current and not current.part.done and current.part.owner == claimed.part.owner:
            part = current.part
            page = await self.finder.page(plan.selection, part.counts.at, part.names.start, part.names.end)
            counts = _add_page(part.counts, page.sources, page.jobs, page.written_since(plan.created))
            counts = add_tenants(counts, page.jobs, self.estimator.settings)
            is_over = deadline is not None and time.monotonic() >= deadline
            update = {
                "counts": counts.model_copy(update={"at": page.offset}),
                "last": page.last or part.last,
                "done": not page.offset,
                "divisible": part.divisible and page.is_ordered,
                "until": 0.0 if is_over else claim_end(),
            }
            saved = await self.parts.save(current, part.model_copy(update=update))
            if saved and page.offset and not (part.last or part.names.start):
                # The first page of a plan is not the last one.
                messages = (self.queue.send(RunWork(run=plan.id, plan=True)) for _ in range(HELPERS))
                await gather_or_cancel(*messages)
            if saved and is_over:
                return
            # After a conflict the part has another end, or another owner: the page is planned again.
            current = saved or await self.parts.reload(current)

    async def _merge(self, plan: Plan) -> Plan:
        """Return the plan with the counts of its parts, and store it if all of them are done."""
        merged = await self._merged(plan)
        if not merged.complete:
            return merged
        document = await self._stored(plan.id)
        if Plan.read(document.content).complete:
            return merged
        if await self.store.replace("plan", key_of(plan.id), document, merged.model_dump(mode="json")):
            log.info(
                "plan %s: %d jobs of %d sources",
                merged.id,
                merged.jobs,
                merged.sources,
                extra={"event": "run.planned"},
            )
        return merged

    async def _merged(self, plan: Plan) -> Plan:
        parts = sorted((each.part for each in await self.parts.load(plan)), key=lambda part: part.names.start)
        merged = _merge_counts(plan, [part.counts for part in parts])
        jobs, renditions = Counter(merged.recipes), Counter(merged.renditions)
        # The tenants of a sample are not known: in the worst case, each job has another one.
        sessions = None if plan.selection.sample else merged.tenant_sessions
        estimate = self.estimator.estimate(jobs, renditions, await self.estimator.measured(), sessions)
        marker = None if all(part.done for part in parts) else plan.id
        levels = {recipe.name: recipe.isolation for recipe in self.finder.recipes}
        single = sum(number for name, number in merged.recipes.items() if levels.get(name) == "single")
        return merged.model_copy(update={"estimate": estimate, "marker": marker, "single_jobs": single})

    async def _stored(self, plan_id: str) -> Document:
        document = await self.store.get("plan", key_of(plan_id)) if is_id(plan_id) else None
        if document is None:
            raise RequestError(f"there is no plan {plan_id[:60]!r}: make a new one", kind="unknown_plan")
        return document


def new_id() -> str:
    """Return the id of a new plan or run: its time, and 24 random bits."""
    return f"{now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def _add_page(plan: Plan, sources: int, jobs: list[Due], written: int) -> Plan:
    """Add the jobs of another page to the counts, or to the candidates of the sample."""
    plan = plan.model_copy(update={"sources": plan.sources + sources, "written": plan.written + written})
    rows = [(job.rank if plan.selection.sample else "", job.reason, job.recipe.name, job.source.size) for job in jobs]
    renditions = {job.recipe.name: len(job.recipe.renditions) for job in jobs}
    return _add_rows(plan, rows, renditions)


def _add_rows(plan: Plan, rows: list[tuple[str, Reason, str, int]], renditions: dict[str, int]) -> Plan:
    if not plan.selection.sample:
        return _add_counts(plan, rows, renditions)
    candidates = heapq.nsmallest(plan.selection.sample, [*plan.candidates, *rows])
    per_job = {**{name: plan.renditions[name] // plan.recipes[name] for name in plan.recipes}, **renditions}
    empty = plan.model_copy(
        update={"jobs": 0, "bytes": 0, "reasons": {}, "recipes": {}, "renditions": {}, "candidates": candidates}
    )
    return _add_counts(empty, candidates, per_job)


def _merge_counts(plan: Plan, parts: Sequence[Plan]) -> Plan:
    """Return the plan with the sums of the parts' counts, or with the sample of all their candidates."""
    sums: dict[str, object] = {name: sum(getattr(each, name) for each in parts) for name in ("sources", "written")}
    if plan.selection.sample:
        merged = plan.model_copy(update=sums)
        for each in parts:
            per_job = {name: each.renditions[name] // each.recipes[name] for name in each.recipes}
            merged = _add_rows(merged, each.candidates, per_job)
        return merged
    sums |= {name: sum(getattr(each, name) for each in parts) for name in ("jobs", "bytes")}
    sums |= merged_tenants(parts)
    for name in ("reasons", "recipes", "renditions"):
        sums[name] = dict(sum((Counter(getattr(each, name)) for each in parts), Counter[str]()))
    return plan.model_copy(update=sums)


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
