"""Bulk on the command line: plan, reprocess with a progress bar, follow, cancel and resume runs, prune."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from pipeline.cli.common import FAILED, Json, console, counted, invalid, show_json, told, with_services
from pipeline.runs import Orphan, Plan, Run, Selection
from pipeline.services import Services
from pipeline.telemetry import printable

app = typer.Typer(help="Look at runs, cancel and resume them.", invoke_without_command=True)
POLL = 1.0
# A plan over millions of sources is stored now and then, so that it can be gone on with.
STRETCH = 20.0
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

Prefix = Annotated[str, typer.Option(help="Only sources whose names start with this.")]
Recipes = Annotated[list[str] | None, typer.Option("--recipe", help="Only this recipe; may be repeated.")]
Reasons = Annotated[
    str,
    typer.Option(
        "--reason",
        help="Why jobs are due, with commas between: new, changed, recipe_changed, unfinished, failed, missing, done, "
        "dismissed; due, stale and all name several.",
    ),
]
Age = Annotated[str, typer.Option(help="As in 90s, 15m, 12h or 7d, since the source was written.")]
Sample = Annotated[int | None, typer.Option(help="Only so many jobs, spread over all that are selected.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def plan(
    prefix: Prefix = "",
    recipe: Recipes = None,
    reason: Reasons = "due",
    older_than: Age = "",
    newer_than: Age = "",
    sample: Sample = None,
    as_json: Json = False,
) -> None:
    """Say what a run would do, why, how long it would take and what it would cost. Nothing is done."""
    selection = _selection(prefix, recipe, reason, older_than, newer_than, sample)
    made = with_services(lambda services: _planned(services, selection, quiet=as_json))
    show_json(made.as_json()) if as_json else _show_plan(made)


def reprocess(
    prefix: Prefix = "",
    recipe: Recipes = None,
    reason: Reasons = "due",
    older_than: Age = "",
    newer_than: Age = "",
    sample: Sample = None,
    plan_id: Annotated[str, typer.Option("--plan", help="Start this plan instead of a new one.")] = "",
    max_jobs: Annotated[int | None, typer.Option(min=0, help="Refuse more jobs than this.")] = None,
    max_cost: Annotated[float | None, typer.Option(min=0, help="Refuse what is estimated to cost more.")] = None,
    yes: Yes = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the end.")] = False,
    as_json: Json = False,
) -> None:
    """Plan, ask, start a run and follow it. Ctrl-C leaves the run at work."""
    selection = _selection(prefix, recipe, reason, older_than, newer_than, sample)

    async def work(services: Services) -> Run | None:
        made = await services.planner.get(plan_id) if plan_id else await _planned(services, selection, quiet=as_json)
        if not as_json:
            _show_plan(made)
        if made.jobs == 0:
            return None
        if not (yes or as_json) and not typer.confirm(f"start {counted(made.jobs, 'job')}?"):
            raise typer.Exit(1)
        run = await services.runs.start(plan_id=made.id, max_jobs=max_jobs, max_cost=max_cost)
        return run if detach else await _followed(services, run, quiet=as_json)

    _end(with_services(work), as_json=as_json)


@app.callback()
def list_runs(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
    page: Annotated[str, typer.Option(help="The token that the page before ended with.")] = "",
    as_json: Json = False,
) -> None:
    """List runs, the newest first."""
    if context.invoked_subcommand:
        return
    found, token = with_services(lambda services: services.runs.list_runs(limit, page))
    if as_json:
        show_json({"runs": [run.as_json() for run in found], "next": token or None})
        return
    _show_runs(found)
    if token:
        console.print(f"more: --page {token}", highlight=False, soft_wrap=True)


Id = Annotated[str, typer.Argument(help="The run's id.")]


@app.command("show")
def show_run(run: Id, as_json: Json = False) -> None:
    """Say how far a run is."""
    _end(with_services(lambda services: services.runs.get(run)), as_json=as_json)


@app.command("follow")
def follow(run: Id, as_json: Json = False) -> None:
    """Watch a run until it is over."""

    async def work(services: Services) -> Run:
        return await _followed(services, await services.runs.get(run), quiet=as_json)

    _end(with_services(work), as_json=as_json)


@app.command("cancel")
def cancel(run: Id, as_json: Json = False) -> None:
    """Begin no more of a run's jobs."""
    found = with_services(lambda services: services.runs.cancel(run))
    show_json(found.as_json()) if as_json else _show_runs([found])


@app.command("resume")
def resume(
    run: Id,
    max_jobs: Annotated[int | None, typer.Option(min=1, help="Let it find so many jobs.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the end.")] = False,
    as_json: Json = False,
) -> None:
    """Bring a run that was cancelled, has stopped or has lost its messages back to work, and follow it."""

    async def work(services: Services) -> Run:
        resumed = await services.runs.resume(run, max_jobs=max_jobs)
        return resumed if detach else await _followed(services, resumed, quiet=as_json)

    _end(with_services(work), as_json=as_json)


def prune(
    prefix: Annotated[str, typer.Option(help="Only renditions whose paths start with this.")] = "",
    delete: Annotated[bool, typer.Option("--delete", help="Delete them.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """List renditions whose source or recipe is gone; with --delete, delete them."""

    async def work(services: Services) -> tuple[list[Orphan], list[Orphan]]:
        found = [orphan async for orphan in services.orphans.find(prefix)]
        if not delete or not found:
            return found, []
        size = sum(orphan.blob.size for orphan in found)
        if not (yes or as_json) and not typer.confirm(f"delete {counted(len(found), 'rendition')} of {size:,} bytes?"):
            raise typer.Exit(1)
        return found, [orphan for orphan in found if await services.orphans.delete(orphan)]

    found, deleted = with_services(work)
    if as_json:
        listed = [{"path": one.blob.path, "size": one.blob.size, "job": one.blob.job, "why": one.why} for one in found]
        show_json({"found": listed, "deleted": [one.blob.path for one in deleted]})
        return
    for orphan in found:
        console.print(f"{orphan.why}: {escape(printable(orphan.blob.path))}", highlight=False)
    told_size = f"{sum(orphan.blob.size for orphan in found):,} bytes"
    console.print(f"{counted(len(found), 'rendition')}, {told_size}; {len(deleted):,} deleted")


def _selection(
    prefix: str, recipes: list[str] | None, reasons: str, older: str, newer: str, sample: int | None
) -> Selection:
    asked: dict[str, Any] = {"prefix": prefix, "recipes": recipes or (), "reasons": reasons, "sample": sample}
    with told():
        ages = {"min_age": _seconds(older, "--older-than"), "max_age": _seconds(newer, "--newer-than")}
        try:
            return Selection(**asked, **ages)
        except ValidationError as error:
            raise invalid(error) from None


def _seconds(age: str, option: str) -> float | None:
    if not age:
        return None
    if age[-1] not in UNITS or not age[:-1].isdigit():
        raise typer.BadParameter(f"{age!r} is no age: write it as in 90s, 15m, 12h or 7d", param_hint=option)
    return float(age[:-1]) * UNITS[age[-1]]


async def _planned(services: Services, selection: Selection, *, quiet: bool) -> Plan:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet) as progress:
        bar = progress.add_task("planning", total=None)
        made = await services.planner.plan(selection, budget_seconds=STRETCH)
        while made.marker:
            progress.update(bar, description=f"planning: {_jobs(made)}")
            made = await services.planner.plan(selection, marker=made.marker, budget_seconds=STRETCH)
    return made


async def _followed(services: Services, run: Run, *, quiet: bool) -> Run:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=quiet) as progress:
        bar = progress.add_task(run.id, total=run.expected)
        while True:
            run = await services.runs.get(run.id)
            ended = run.progress.total - run.progress.left
            total = run.progress.total if run.listed else max(run.expected or 0, run.progress.total)
            failed = f", [red]{run.progress.failed} failed[/]" if run.progress.failed else ""
            progress.update(bar, completed=ended, total=total, description=f"{run.id}{failed}")
            if run.over:
                return run
            await asyncio.sleep(POLL)


def _end(run: Run | None, *, as_json: bool) -> None:
    """Show the run and end with its status: 3 when something failed in it or it stopped."""
    if run is None:
        show_json(None) if as_json else console.print("nothing is due")
        return
    show_json(run.as_json()) if as_json else _show_runs([run])
    if run.progress.failed or run.state in ("stopped", "cancelled"):
        raise typer.Exit(FAILED)


def _jobs(made: Plan) -> str:
    return f"{counted(made.jobs, 'job')} of {counted(made.sources, 'source')}"


def _show_plan(made: Plan) -> None:
    if made.jobs:
        table = Table("reason", "jobs")
        for reason, count in sorted(made.reasons.items()):
            table.add_row(reason, f"{count:,}")
        console.print(table)
    taken = made.estimate
    basis = f"from {counted(taken.timings, 'timed job')}" if taken.timings else "assumed: no job has been timed yet"
    console.print(
        f"plan {made.id}: {_jobs(made)}, {made.bytes:,} bytes\n"
        f"about {taken.minutes:.1f} minutes in {counted(taken.sessions, 'session')} ({basis})\n"
        f"{counted(taken.session_hours, 'session-hour')}, {taken.transactions:,} storage transactions\n"
        f"about ${taken.total:.2f}: sessions ${taken.money.get('sessions', 0):.2f}, "
        f"storage ${taken.money.get('storage', 0):.4f}; function instances not included",
        highlight=False,
    )


def _show_runs(found: list[Run]) -> None:
    table = Table("run", "state", "done", "skipped", "failed", "left", "why", box=None)
    for run in found:
        progress = run.progress
        counts = (progress.done, progress.skipped, progress.failed, progress.left)
        table.add_row(run.id, run.state, *(f"{count:,}" for count in counts), escape(run.why))
    console.print(table)
