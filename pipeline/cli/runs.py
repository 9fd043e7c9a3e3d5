"""Commands about bulk runs: plan, estimate and start runs, list, follow, cancel and resume them; prune renditions."""

import asyncio
import os
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from pipeline.cli.common import FAILED, Json, console, counted, errors_shown, show_cursor, show_json, with_services
from pipeline.cli.recipes import settings as load_settings
from pipeline.errors import RequestError
from pipeline.runs import Orphan, Plan, Run, Selection
from pipeline.runs.estimates import ASSUMED_TIMES, Measured, Pool, Times, duration
from pipeline.services import Services
from pipeline.settings import CONNECTION
from pipeline.telemetry import printable

app = typer.Typer(help="List, follow, cancel and resume bulk runs.", invoke_without_command=True)
POLL_INTERVAL_SECONDS = 1.0
# A plan over millions of sources is stored at this interval, so that planning can resume.
PLAN_STEP_SECONDS = 20.0
SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

Id = Annotated[str, typer.Argument(help="Run id.")]
Prefix = Annotated[str, typer.Option(help="Only sources whose names start with this.")]
Recipes = Annotated[list[str] | None, typer.Option("--recipe", help="Only this recipe; may be repeated.")]
Reasons = Annotated[
    str,
    typer.Option(
        "--reason",
        help="Only jobs with one of these comma-separated reasons: new, changed, etag_changed, "
        "recipe_changed, unfinished, service_failed, failed, missing, done, dismissed; "
        "due, stale and all are groups of reasons.",
    ),
]
OlderThan = Annotated[str, typer.Option(help="Only sources written longer ago than this: 90s, 15m, 12h, 7d.")]
NewerThan = Annotated[str, typer.Option(help="Only sources written within this time: 90s, 15m, 12h, 7d.")]
Sample = Annotated[int | None, typer.Option(help="Only this many jobs, spread evenly over all selected jobs.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]
Detach = Annotated[bool, typer.Option("--detach", help="Do not wait for the end of the run.")]


def plan(
    prefix: Prefix = "",
    recipe: Recipes = None,
    reason: Reasons = "due",
    older_than: OlderThan = "",
    newer_than: NewerThan = "",
    sample: Sample = None,
    as_json: Json = False,
) -> None:
    """Plan a bulk run: jobs, reasons, duration and cost.

    Starts nothing.
    """
    selection = _selection(prefix, recipe, reason, older_than, newer_than, sample)
    result = with_services(lambda services: _plan(services, selection, quiet=as_json))
    show_json(result.as_json()) if as_json else _show_plan(result)


def reprocess(
    prefix: Prefix = "",
    recipe: Recipes = None,
    reason: Reasons = "due",
    older_than: OlderThan = "",
    newer_than: NewerThan = "",
    sample: Sample = None,
    plan_id: Annotated[str, typer.Option("--plan", help="Start this plan, not a new one.")] = "",
    max_jobs: Annotated[int | None, typer.Option(min=0, help="Refuse to start more jobs than this.")] = None,
    max_cost: Annotated[
        float | None, typer.Option(min=0, help="Refuse to start above this cost; later, pause.")
    ] = None,
    yes: Yes = False,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Plan and start a bulk run, and follow it.

    Ctrl-C ends the command; the run continues.
    """
    selection = _selection(prefix, recipe, reason, older_than, newer_than, sample)

    async def work(services: Services) -> Run | None:
        chosen = await services.planner.get(plan_id) if plan_id else await _plan(services, selection, quiet=as_json)
        if not as_json:
            _show_plan(chosen)
        if chosen.jobs == 0:
            return None
        _confirm(f"start {counted(chosen.jobs, 'job')}?", yes=yes or as_json)
        run = await services.runs.start(plan_id=chosen.id, max_jobs=max_jobs, max_cost=max_cost)
        return run if detach else await _follow(services, run.id, quiet=as_json)

    _finish(with_services(work), as_json=as_json)


@app.callback()
def list_runs(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Runs per page.")] = 20,
    cursor: Annotated[str, typer.Option(help="Cursor from the end of the previous page.")] = "",
    as_json: Json = False,
) -> None:
    """List, follow, cancel and resume bulk runs.

    Without a subcommand, lists runs, newest first.
    """
    if context.invoked_subcommand:
        return
    runs, next_cursor = with_services(lambda services: services.runs.list_runs(limit, cursor))
    if as_json:
        show_json({"runs": [run.as_json() for run in runs], "next": next_cursor or None})
    else:
        _show_runs(runs)
        show_cursor(next_cursor)


@app.command("show")
def show_run(run: Id, as_json: Json = False) -> None:
    """Show the progress of a run."""
    _finish(with_services(lambda services: services.runs.get(run)), as_json=as_json)


@app.command("follow")
def follow(run: Id, as_json: Json = False) -> None:
    """Follow a run until it ends."""
    _finish(with_services(lambda services: _follow(services, run, quiet=as_json)), as_json=as_json)


@app.command("cancel")
def cancel(run: Id, as_json: Json = False) -> None:
    """Cancel a run: start no more of its jobs."""
    cancelled = with_services(lambda services: services.runs.cancel(run))
    show_json(cancelled.as_json()) if as_json else _show_runs([cancelled])


@app.command("resume")
def resume(
    run: Id,
    max_jobs: Annotated[
        int | None, typer.Option(min=1, help="New maximum number of jobs, for a run that left due jobs.")
    ] = None,
    max_cost: Annotated[float | None, typer.Option(min=0, help="New maximum cost, for a run that paused.")] = None,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Resume a run that was cancelled, has stopped, paused, lost its messages or left due jobs, and follow it."""

    async def work(services: Services) -> Run:
        resumed = await services.runs.resume(run, max_jobs=max_jobs, max_cost=max_cost)
        return resumed if detach else await _follow(services, run, quiet=as_json)

    _finish(with_services(work), as_json=as_json)


def prune(
    prefix: Annotated[str, typer.Option(help="Only renditions whose paths start with this.")] = "",
    delete: Annotated[bool, typer.Option("--delete", help="Delete the orphaned renditions.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """List orphaned renditions; delete them with --delete.

    A rendition is orphaned if its source or recipe no longer exists, or if a newer job has replaced it.
    """

    async def work(services: Services) -> tuple[list[Orphan], list[Orphan]]:
        orphans = [orphan async for orphan in services.orphans.find(prefix)]
        if not delete or not orphans:
            return orphans, []
        _confirm(f"delete {_total(orphans)}?", yes=yes or as_json)
        return orphans, [orphan for orphan in orphans if await services.orphans.delete(orphan)]

    orphans, deleted = with_services(work)
    if as_json:
        blobs = [(orphan.blob, orphan.why) for orphan in orphans]
        listed = [{"path": blob.path, "size": blob.size, "job": blob.job, "reason": why} for blob, why in blobs]
        show_json({"orphans": listed, "deleted": [orphan.blob.path for orphan in deleted]})
        return
    for orphan in orphans:
        console.print(f"{orphan.why}: {escape(printable(orphan.blob.path))}")
    console.print(f"{_total(orphans)}; {len(deleted):,} deleted")


def _total(orphans: list[Orphan]) -> str:
    return f"{counted(len(orphans), 'rendition')}, {sum(orphan.blob.size for orphan in orphans):,} bytes"


def _confirm(question: str, *, yes: bool) -> None:
    """Ask for confirmation unless `yes` is set; end the command if the user declines."""
    if not yes and not typer.confirm(question):
        raise typer.Exit(1)


def _selection(
    prefix: str, recipes: list[str] | None, reasons: str, older_than: str, newer_than: str, sample: int | None
) -> Selection:
    values: dict[str, Any] = {"prefix": prefix, "recipes": recipes or (), "reasons": reasons, "sample": sample}
    values |= {"min_age": _seconds(older_than, "--older-than"), "max_age": _seconds(newer_than, "--newer-than")}
    with errors_shown():
        try:
            return Selection(**values)
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
            raise RequestError("; ".join(problems).replace("Value error, ", "")) from None


def _seconds(age: str, option: str) -> float | None:
    """Read an age such as `7d`. Raises BadParameter if it is malformed."""
    if not age:
        return None
    if age[-1] not in SECONDS_PER_UNIT or not age[:-1].isdigit():
        raise typer.BadParameter(f"{age!r} is not an age: use 90s, 15m, 12h or 7d", param_hint=option)
    return float(age[:-1]) * SECONDS_PER_UNIT[age[-1]]


async def _plan(services: Services, selection: Selection, *, quiet: bool) -> Plan:
    """Plan in steps, and show the progress."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet) as progress:
        bar = progress.add_task("planning", total=None)
        result = await services.planner.plan(selection, budget_seconds=PLAN_STEP_SECONDS)
        while result.marker:
            progress.update(bar, description=f"planning: {_counts(result)}")
            result = await services.planner.plan(selection, marker=result.marker, budget_seconds=PLAN_STEP_SECONDS)
    return result


async def _follow(services: Services, run_id: str, *, quiet: bool) -> Run:
    """Show the progress of a run until it has ended."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=quiet) as progress:
        bar = progress.add_task(run_id, total=None)
        while True:
            run = await services.runs.get(run_id)
            counts = run.progress
            total = counts.total if run.listed else max(run.expected or 0, counts.total)
            failed = f", [red]{counts.failed} failed[/]" if counts.failed else ""
            progress.update(
                bar, completed=counts.total - counts.left, total=total, description=f"{escape(run_id)}{failed}"
            )
            if run.over:
                return run
            await asyncio.sleep(POLL_INTERVAL_SECONDS)


def _finish(run: Run | None, *, as_json: bool) -> None:
    """Show the run, if any. Exit with status 3 if it stopped, left due jobs, or one of its jobs failed."""
    if as_json:
        show_json(run and run.as_json())
    elif run:
        _show_runs([run])
    else:
        console.print("no jobs are due")
    if run and (run.progress.failed or run.more_due or run.state in ("stopped", "cancelled", "paused")):
        raise typer.Exit(FAILED)


def _counts(plan: Plan) -> str:
    return f"{counted(plan.jobs, 'job')} of {counted(plan.sources, 'source')}"


def _show_plan(plan: Plan) -> None:
    if plan.jobs:
        table = Table("reason", "jobs")
        for reason, count in sorted(plan.reasons.items()):
            table.add_row(reason, f"{count:,}")
        console.print(table)
    estimate = plan.estimate
    parts = ", ".join(f"{name} ${cost:.2f}" for name, cost in estimate.money.items() if name != "total")
    prices = f": {parts}" if parts else ""
    tenants = f" for {counted(plan.tenants, 'tenant')}" if plan.tenants else ""
    single = f", {counted(plan.single_jobs, 'job')} in sessions of their own" if plan.single_jobs else ""
    basis = f"from {counted(estimate.timings, 'measured job')}" if estimate.timings else "assumed: no measured jobs yet"
    console.print(
        f"plan {plan.id}: {_counts(plan)}, {plan.bytes:,} bytes\n"
        f"about {estimate.minutes:.1f} minutes in {counted(estimate.sessions, 'session')} ({basis})\n"
        f"{counted(estimate.session_hours, 'session-hour')}{tenants}{single}, "
        f"{estimate.gb_seconds:,} GB-seconds, {estimate.transactions:,} storage transactions\n"
        f"at most ${estimate.total:.2f}{prices}"
        + (f"; sessions not included: {estimate.unpriced}" if estimate.unpriced else "")
    )
    if plan.written:
        console.print(
            f"{counted(plan.written, 'source')} changed while the plan was made: a run may find other jobs; plan again "
            "to be sure"
        )


def _show_runs(runs: list[Run]) -> None:
    table = Table("run", "state", "done", "skipped", "failed", "left", "why", box=None)
    for run in runs:
        counts = (run.progress.done, run.progress.skipped, run.progress.failed, run.progress.left)
        state = f"paused: {run.paused}" if run.paused else run.state
        state = f"{state}, more is due" if run.more_due else state
        table.add_row(run.id, state, *(f"{count:,}" for count in counts), escape(run.why))
    console.print(table)


Ms = Annotated[float | None, typer.Option(min=0, help="Milliseconds per job. Default: the measured mean of 2 days.")]


def estimate(
    images: Annotated[int, typer.Option(min=0, help="Number of images.")],
    sessions: Annotated[int | None, typer.Option(min=1, help="Number of sessions. Default: the whole pool.")] = None,
    recipe: Annotated[str, typer.Option(help="Use the measured jobs of this recipe. Default: all recipes.")] = "",
    upload_ms: Ms = None,
    execution_ms: Ms = None,
    download_ms: Ms = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Concurrent jobs per session.")] = None,
    start_seconds: Annotated[float, typer.Option(min=0, help="Start time of a session in seconds.")] = 4.0,
    as_json: Json = False,
) -> None:
    """Estimate the duration of a bulk run from measured job times.

    Options replace measured times. Without a storage account in the settings, typical times are assumed.
    """
    with errors_shown():
        settings = load_settings()
    measured = _measured()
    mean = measured.of(recipe)
    options = {"upload": upload_ms, "execution": execution_ms, "download": download_ms}
    replaced = {name: ms / 1000 for name, ms in options.items() if ms is not None}
    times = Times(**{**vars(mean), **replaced, **({"whole": 0.0} if replaced else {})})
    default = Pool.of(settings, times)
    pool = Pool(
        sessions or default.sessions, concurrency or default.concurrency, start_seconds, settings.session_max_jobs
    )
    # The number of processes grows with the number of sessions.
    processes = measured.processes * max(1.0, pool.sessions / settings.pool_max_sessions)
    seconds = duration(images, pool, times, settings.run_concurrency * processes)
    rate = images / seconds * 60 if seconds else 0.0
    ms = {name: round(value * 1000, 1) for name, value in vars(times).items()}
    if as_json:
        show_json({"seconds": round(seconds, 1), "images_per_minute": round(rate, 1), "ms": ms, **vars(pool)})
        return
    hours, rest = divmod(round(seconds), 3600)
    per_image = ", ".join(f"{name} {value:g} ms" for name, value in ms.items() if value)
    console.print(
        f"{counted(images, 'image')} in {counted(pool.sessions, 'session')}: {hours} h {rest // 60} min {rest % 60} s, "
        f"{rate:,.0f} images per minute\nper image: {per_image}"
    )


def _measured() -> Measured:
    """Return the job times of the ledger, or assumed times without a storage account."""
    if not any(name.partition("__")[0] == CONNECTION for name in os.environ):
        return Measured({"": ASSUMED_TIMES}, 0)
    return with_services(lambda services: services.estimator.measured())
