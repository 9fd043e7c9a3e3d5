"""A run from its start to its end: start, look, cancel, resume."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Awaitable, Callable

from pipeline.concurrency import gather_or_cancel
from pipeline.errors import RequestError, StateConflict
from pipeline.runs.estimates import Estimate, estimate, jobs_per_session, measured
from pipeline.runs.model import Progress, Run, is_id, key_of, now
from pipeline.runs.planning import get_plan, new_id
from pipeline.runs.selection import Selection, recipe_versions, selected_recipes
from pipeline.services import Services
from pipeline.settings import variable
from pipeline.storage.queue import RunWork
from pipeline.storage.run_store import LEFT, Document
from pipeline.telemetry import logger

log = logger(__name__)
SENDERS = 16
# The schedule's own document: two timers that ring at once find out by it.
SCHEDULE = "run"
RING = 60
# How long a scheduled run may be at work before the timer brings it in again: its messages may have been lost.
PATIENCE = 3600


async def start(
    services: Services,
    selection: Selection | None = None,
    *,
    plan_id: str | None = None,
    expected_count: int | None = None,
    max_jobs: int | None = None,
    max_cost: float | None = None,
    named: Callable[[str], Awaitable[str]] | None = None,
) -> Run:
    """Start what was planned: by the plan's id, or by the number of jobs that the caller expects.

    It stops by itself when it finds more than that by more than the margin. `max_jobs` and `max_cost` are caps below
    those of the settings. `named` may give it another id than the fresh one; a run that has that id already is the one
    that was meant. RequestError when there is neither a plan nor a number, or when it would be over a cap.
    """
    if plan_id is not None:
        plan = await get_plan(services, plan_id)
        if not plan.complete:
            raise StateConflict(f"plan {plan.id} is not complete: go on with its marker first", kind="plan_incomplete")
        if selection not in (None, plan.selection):
            raise RequestError("the selection is not the plan's: leave it out, or plan anew", kind="other_selection")
        most = _most(services, plan.jobs, plan.estimate, max_jobs, max_cost)
        run = Run(
            id=new_id(),
            selection=plan.selection,
            plan=plan.id,
            expected=plan.jobs,
            most=most,
            recipe_versions=plan.recipe_versions,
        )
        return await _begin(services, run.model_copy(update={"last_rank": plan.last_rank}), named)
    if expected_count is None or selection is None or selection.sample:
        raise RequestError(
            "plan first, and start the plan by its id; without one, say which selection and how many jobs you expect "
            "(a sample always needs a plan)",
            kind="no_plan",
        )
    taken = await _estimate(services, selection, expected_count)
    most = _most(services, expected_count, taken, max_jobs, max_cost)
    meant = recipe_versions(services, selection)
    run = Run(id=new_id(), selection=selection, expected=expected_count, most=most, recipe_versions=meant)
    return await _begin(services, run, named)


async def find_run(services: Services, run_id: str) -> Run | None:
    """A run that was begun; None when there is none. Its first message is sent again if it may have been lost."""
    if not await _exists(services, run_id):
        return None
    run = await get(services, run_id)
    if not (run.over or run.listed or run.pages):
        await services.run_queue.send(RunWork(run=run.id))
    return run


async def start_scheduled(services: Services) -> Run | None:
    """Start the scheduled run; None when another timer has just done so, or its last one is still at work.

    One that is at work for too long is brought back to it: else it would keep every later one from starting.
    """
    settings, table = services.settings, services.run_store
    before = await table.get("schedule", SCHEDULE)
    if before and await _is_begun(services, before):
        return None
    run_id = new_id()
    content = {"run": run_id, "at": now().timestamp()}
    mine = await (
        table.replace("schedule", SCHEDULE, before, content) if before else table.create("schedule", SCHEDULE, content)
    )
    if mine is None:
        return None
    selection = Selection(prefix=settings.schedule_prefix, reasons=settings.schedule_reasons)
    jobs = min(settings.schedule_max_jobs, settings.run_max_jobs)
    taken = await _estimate(services, selection, jobs)
    if taken.total > settings.run_max_cost:
        jobs = int(jobs * settings.run_max_cost / taken.total)
    meant = recipe_versions(services, selection)
    return await _begin(services, Run(id=run_id, selection=selection, scheduled=True, most=jobs, recipe_versions=meant))


async def _is_begun(services: Services, before: Document) -> bool:
    """Whether the last scheduled run has just been begun, by another timer, or is still at work."""
    last, age = before.content, now().timestamp() - before.content["at"]
    run = await get(services, last["run"]) if age >= RING and await _exists(services, last["run"]) else None
    if age >= RING and (run is None or run.state != "working"):
        return False
    log.info("no scheduled run is started: %s is at work, or has just begun", last["run"])
    if run and (age >= PATIENCE or not (run.pages or run.listed)):
        content = {**last, "at": now().timestamp()}
        if await services.run_store.replace("schedule", SCHEDULE, before, content):
            await resume(services, run.id)
    return True


async def get(services: Services, run_id: str) -> Run:
    """A run and how far it is: exact when it is done. RequestError when there is none."""
    document = await _stored(services, run_id)
    run = Run.read(document.content)
    if run.state == "done":
        return run
    seen = await _counted(services, run)
    if run.state == "working" and run.listed and seen.progress.left == 0:
        seen = seen.model_copy(update={"state": "done", "finished": now()})
    if seen.settled_to != run.settled_to or seen.state != run.state:
        # Whoever looks next need not count again; when somebody else has written, that one will.
        await services.run_store.replace("run", key_of(run.id), document, seen.written())
    return seen


async def list_runs(services: Services, limit: int = 20, token: str = "") -> tuple[list[Run], str]:
    """Runs, the newest first, and the token of the next page, empty at the end."""
    found = await services.run_store.page("run", limit + 1, _key(token))
    runs = [Run.read(document.content) for _, document in found[:limit]]
    runs = [run if run.state == "done" else await get(services, run.id) for run in runs]
    more = base64.urlsafe_b64encode(found[limit - 1][0].encode()).decode() if len(found) > limit else ""
    return runs, more


async def cancel(services: Services, run_id: str) -> Run:
    """Stop a run: jobs under way end, no others begin. NotNow when it is over already."""

    def cancelled(run: Run) -> Run:
        if run.over:
            raise StateConflict(f"run {run.id} is {run.state} already", kind=f"run_{run.state}")
        return run.model_copy(update={"state": "cancelled", "finished": now(), "why": "cancelled"})

    await update(services, run_id, cancelled)
    return await get(services, run_id)


async def stop(services: Services, run_id: str, why: str) -> None:
    """Stop a run that cannot go on by itself, unless it is over. RequestError when there is none."""

    def stopped(run: Run) -> Run:
        return run if run.over else run.model_copy(update={"state": "stopped", "finished": now(), "why": why})

    log.error("run %s stops: %s", run_id, why)
    await update(services, run_id, stopped)


async def resume(services: Services, run_id: str, *, max_jobs: int | None = None) -> Run:
    """Bring a run back to work, whatever has become of its messages. A job that has ended is not done again.

    It goes on with the recipes as they are here now.
    `max_jobs` raises what it may find, for a run that has stopped. NotNow when it is done.
    """
    most = services.settings.run_max_jobs

    def working(run: Run) -> Run:
        if run.state == "done":
            raise StateConflict(f"run {run.id} is done already", kind="run_done")
        if max_jobs is not None and max_jobs > most:
            raise RequestError(f"a run takes at most {most:,} jobs ({variable('run_max_jobs')})", kind="over_cap")
        news = {"state": "working", "finished": None, "why": "", "most": max_jobs or run.most}
        return run.model_copy(update={**news, "forms": recipe_versions(services, run.selection)})

    run = await update(services, run_id, working)
    if not run.listed:
        await services.run_queue.send(RunWork(run=run.id))
    left = [
        RunWork(run=run.id, batch=name)
        async for name, outcomes in services.run_store.outcomes(run.id, run.settled_to)
        if LEFT in outcomes
    ]
    await send_all(services, left)
    log.info("run %s goes on: %d batches are brought in again", run.id, len(left))
    return await get(services, run_id)


async def update(services: Services, run_id: str, how: Callable[[Run], Run]) -> Run:
    """Change a run, whoever else changes it meanwhile. RequestError when there is none, and whatever `how` raises."""
    while True:
        document = await _stored(services, run_id)
        changed = how(Run.read(document.content))
        if await services.run_store.replace("run", key_of(run_id), document, changed.written()):
            return changed


async def send_all(services: Services, messages: list[RunWork]) -> None:
    """Queue messages, several at a time."""
    for at in range(0, len(messages), SENDERS):
        await gather_or_cancel(*(services.run_queue.send(message) for message in messages[at : at + SENDERS]))


async def _begin(services: Services, run: Run, named: Callable[[str], Awaitable[str]] | None = None) -> Run:
    if named:
        run = run.model_copy(update={"id": await named(run.id)})
    # The document comes first: a message about a run that nobody knows would be dropped.
    if await services.run_store.create("run", key_of(run.id), run.written()) is None:
        there = await find_run(services, run.id) if named else None
        if there is None:
            raise AssertionError("two runs have one id")
        return there
    await services.run_queue.send(RunWork(run=run.id))
    log.info("run %s begins: %s jobs are expected, at most %d", run.id, run.expected, run.most)
    return run


def _most(services: Services, expected: int, taken: Estimate, max_jobs: int | None, max_cost: float | None) -> int:
    """How many jobs the run may find. RequestError when what is expected is over a cap."""
    settings = services.settings
    jobs = min(settings.run_max_jobs, settings.run_max_jobs if max_jobs is None else max_jobs)
    cost = min(settings.run_max_cost, settings.run_max_cost if max_cost is None else max_cost)
    if expected > jobs:
        raise RequestError(
            f"{expected:,} jobs are more than the cap of {jobs:,}; narrow the selection, or raise "
            f"{variable('run_max_jobs')} (and the cap of this request) on purpose",
            kind="over_cap",
        )
    if taken.total > cost:
        raise RequestError(
            f"{expected:,} jobs are estimated to cost {taken.total:.2f}, more than the cap of {cost:.2f}; narrow the "
            f"selection, or raise {variable('run_max_cost')} (and the cap of this request) on purpose",
            kind="over_cap",
        )
    return min(jobs, int(expected * (1 + settings.run_overrun_tolerance)))


async def _estimate(services: Services, selection: Selection, jobs: int) -> Estimate:
    """What so many jobs take, evenly of all recipes that are selected."""
    recipes = selected_recipes(services, selection)
    share = Counter({recipe.name: -(-jobs // len(recipes)) for recipe in recipes})
    renditions = Counter({recipe.name: share[recipe.name] * len(recipe.renditions) for recipe in recipes})
    served = jobs_per_session(services.settings, recipes)
    return estimate(services.settings, share, renditions, await measured(services), served)


async def _counted(services: Services, run: Run) -> Run:
    """With what its batches say. Those before the first in which something is left count for good."""
    settled, settled_to, rest = Counter[str](), run.settled_to, Counter[str]()
    async for name, outcomes in services.run_store.outcomes(run.id, run.settled_to):
        if not rest and LEFT not in outcomes:
            settled.update(outcomes)
            settled_to = name
        else:
            rest.update(outcomes)
    for_good = run.settled.plus(Progress.of(settled))
    progress = for_good.plus(Progress.of(rest))
    return run.model_copy(update={"settled": for_good, "settled_to": settled_to, "progress": progress})


async def _exists(services: Services, run_id: str) -> bool:
    return await services.run_store.get("run", key_of(run_id)) is not None


async def _stored(services: Services, run_id: str) -> Document:
    document = await services.run_store.get("run", key_of(run_id)) if is_id(run_id) else None
    if document is None:
        raise RequestError(f"there is no run {run_id[:60]!r}", kind="unknown_run")
    return document


def _key(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token).decode()
    except ValueError:
        raise RequestError("this is not a token that a page of runs came with", kind="invalid_cursor") from None
