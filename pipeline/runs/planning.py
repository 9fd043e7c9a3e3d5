"""Planning: every source of a selection is compared with the ledger, page by page, and nothing is done."""

from __future__ import annotations

import heapq
import secrets
import time
from collections import Counter
from collections.abc import Iterable

from pipeline.errors import RequestError, StateConflict
from pipeline.runs.estimates import estimate, jobs_per_session, measured
from pipeline.runs.model import Plan, is_id, key_of, now
from pipeline.runs.selection import Due, Reason, Selection, due_jobs, recipe_versions, version_mismatch
from pipeline.services import Services
from pipeline.storage.run_store import Document
from pipeline.telemetry import logger

log = logger(__name__)
PAGE = 1000


async def plan(
    services: Services, selection: Selection, *, marker: str | None = None, budget_seconds: float | None = None
) -> Plan:
    """What a run of this selection would do, and what it would take.

    After `budget_seconds` it leaves off: the plan then has a marker, and planning goes on in another call with it (the
    selection is the plan's own from then on). RequestError when there is no such plan.
    """
    document, begun = await _begin(services, selection, marker)
    if other := version_mismatch(services, begun.selection, begun.recipe_versions):
        raise StateConflict(f"plan {begun.id}: {other}, or plan anew", kind="plan_changed")
    started = time.monotonic()
    known = await measured(services)
    while True:
        page, at = await services.sources.page(
            services.settings.input_container, begun.selection.prefix, begun.at, PAGE
        )
        found = await due_jobs(services, begun.selection, page, now())
        begun = _with(begun, len(page), found).model_copy(update={"at": at, "marker": begun.id if at else None})
        if not at or (budget_seconds is not None and time.monotonic() - started >= budget_seconds):
            break
    jobs, renditions = Counter(begun.recipes), Counter(begun.renditions)
    served = jobs_per_session(services.settings, services.recipes)
    begun = begun.model_copy(update={"estimate": estimate(services.settings, jobs, renditions, known, served)})
    if await services.run_store.replace("plan", key_of(begun.id), document, begun.written()) is None:
        raise StateConflict(
            f"plan {begun.id} has been gone on with by somebody else: ask for it again", kind="plan_changed"
        )
    log.info("planned %s: %d jobs of %d sources", begun.id, begun.jobs, begun.sources)
    return begun


async def get_plan(services: Services, plan_id: str) -> Plan:
    """A plan as it was made. RequestError when there is none."""
    return Plan.read((await _stored(services, plan_id)).content)


def new_id() -> str:
    """Of a plan or a run: its time, and something that nobody guesses."""
    return f"{now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


async def _begin(services: Services, selection: Selection, marker: str | None) -> tuple[Document, Plan]:
    if marker:
        document = await _stored(services, marker)
        return document, Plan.read(document.content)
    fresh = Plan(id=new_id(), selection=selection, marker="", recipe_versions=recipe_versions(services, selection))
    created = await services.run_store.create("plan", key_of(fresh.id), fresh.written())
    if created is None:
        raise AssertionError("two plans have one id")
    return created, fresh


async def _stored(services: Services, plan_id: str) -> Document:
    document = await services.run_store.get("plan", key_of(plan_id)) if is_id(plan_id) else None
    if document is None:
        raise RequestError(f"there is no plan {plan_id[:60]!r}: make one first", kind="unknown_plan")
    return document


def _with(plan: Plan, sources: int, found: list[Due]) -> Plan:
    """The plan with another page's jobs counted in, or with the sample drawn anew."""
    looked = plan.model_copy(update={"sources": plan.sources + sources})
    rows = [(one.rank, one.reason, one.recipe.name, one.source.size) for one in found]
    renditions = {one.recipe.name: len(one.recipe.renditions) for one in found}
    if not plan.selection.sample:
        return _counted(looked, rows, renditions)
    drawn = heapq.nsmallest(plan.selection.sample, [*plan.candidates, *rows])
    each = {**{name: plan.renditions[name] // plan.recipes[name] for name in plan.recipes}, **renditions}
    empty = looked.model_copy(
        update={"jobs": 0, "bytes": 0, "reasons": {}, "recipes": {}, "renditions": {}, "candidates": drawn}
    )
    return _counted(empty, drawn, each)


def _counted(plan: Plan, rows: Iterable[tuple[str, Reason, str, int]], renditions: dict[str, int]) -> Plan:
    rows = list(rows)
    recipes = Counter(row[2] for row in rows)
    made = Counter({name: count * renditions[name] for name, count in recipes.items()})
    return plan.model_copy(
        update={
            "jobs": plan.jobs + len(rows),
            "bytes": plan.bytes + sum(row[3] for row in rows),
            "reasons": dict(Counter(plan.reasons) + Counter(row[1] for row in rows)),
            "recipes": dict(Counter(plan.recipes) + recipes),
            "renditions": dict(Counter(plan.renditions) + made),
        }
    )
