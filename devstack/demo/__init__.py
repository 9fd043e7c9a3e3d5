"""`scripts/demo`: photos go into the input container of an embedded stack, and come out of the other one."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from devstack import foreground, stack
from devstack.demo import photos, sheet
from devstack.demo.jobs import Job, Pipeline, Plan, opened, plan_jobs
from devstack.errors import DemoError
from devstack.state import ROOT, STATE, near

LOG = STATE / "demo.log"
# The recipes are read before there is a pool.
NO_STACK_YET = {"PIPELINE_POOL_ENDPOINT": "http://127.0.0.1"}
console = Console()


def command(
    folder: Annotated[Path | None, typer.Argument(help="Folder of photos; sample photos when left out.")] = None,
    recipe: Annotated[str | None, typer.Option(help="One recipe by its name, instead of those that match.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the renditions.")] = ROOT / "demo-output",
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running afterwards, until Ctrl-C.")] = False,
    max_sessions: Annotated[int, typer.Option(min=1, help="Sessions that the pool runs at once.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print what came of every photo as JSON.")] = False,
) -> None:
    """Photos in, renditions out, on this machine. Fails unless every photo gets every rendition."""
    # JSON goes where programs read it, everything for people beside it.
    console.stderr = as_json
    told = _print_json if as_json else None
    foreground.run(_demo(folder, recipe, out, max_sessions, keep=keep, told=told), stopped=130)


async def _demo(
    folder: Path | None,
    recipe: str | None,
    out: Path,
    max_sessions: int,
    *,
    keep: bool,
    told: Callable[[list[Job]], None] | None,
) -> None:
    chosen = photos.of_folder(folder) if folder else await asyncio.to_thread(photos.samples)
    plan = plan_jobs(chosen, recipe, {**NO_STACK_YET, **os.environ})
    _make_writable(out)
    options = stack.Options(max_sessions=max_sessions, data=None)
    with _log() as hear, console.status("starting storage, session pool and function host …") as status:
        async with stack.running(options, hear) as running:
            status.stop()
            async with opened({**os.environ, **running.settings}) as pipeline:
                await _unless_broken(running, _through(pipeline, plan, out))
                _show(plan, out)
                if told:
                    told(plan.jobs)
            if keep:
                await _stay(running)
            if not all(job.complete for job in plan.jobs):
                raise DemoError(
                    f"not every photo has every rendition: the table says why, and {near(LOG)} all that happened"
                )


def _make_writable(out: Path) -> None:
    """Find out before the work, not after it, whether what comes of it can be kept."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise DemoError(f"{near(out)} cannot be written ({error.strerror}): name another folder with --out") from None


@contextmanager
def _log() -> Iterator[stack.Output]:
    """Keeps what the parts print in a file; what a person should know is shown too."""
    LOG.parent.mkdir(parents=True, exist_ok=True)
    with LOG.open("w", buffering=1) as log:

        def hear(part: str, line: str) -> None:
            log.write(f"{part:>12} | {line}\n")
            if line.startswith("warning:"):
                console.print(f"[yellow]{escape(line)}[/]", highlight=False)

        yield hear


async def _unless_broken(running: stack.Stack, work: Coroutine[None, None, None]) -> None:
    """Do the work; give up when a part of the stack ends meanwhile."""
    task, broken = asyncio.create_task(work), asyncio.create_task(running.failure())
    try:
        await asyncio.wait([task, broken], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise broken.result()
        task.result()
    finally:
        for each in (task, broken):
            each.cancel()
        await asyncio.gather(task, broken, return_exceptions=True)


async def _through(pipeline: Pipeline, plan: Plan, out: Path) -> None:
    """Drop the photos, follow their jobs with a live display, and fetch what comes out."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("photos", total=len(plan.jobs))

        def show() -> None:
            states = [job.state for job in plan.jobs]
            shown = [state for state in ("running", "queued", "failed") if state in states]
            told = ", ".join(f"{states.count(state)} {state}" for state in shown)
            progress.update(bar, completed=sum(job.ended for job in plan.jobs), description=f"photos {told}")

        await pipeline.drop(plan.jobs)
        await pipeline.follow(plan.jobs, show)
        for job in plan.jobs:
            await pipeline.download(job, out)


def _show(plan: Plan, out: Path) -> None:
    target = out / "contact-sheet.png"
    sheet.draw(plan.jobs, target)
    console.print(_table(plan.jobs))
    if plan.skipped:
        console.print(f"no recipe is for {', '.join(photo.name for photo in plan.skipped)}")
    made = [path for job in plan.jobs for path in job.files.values()]
    before, after = sum(job.photo.size for job in plan.jobs), sum(path.stat().st_size for path in made)
    count = f"{len(made)} rendition{'s' if len(made) != 1 else ''}"
    console.print(f"{count} in {near(out)}: {sheet.size(before)} became {sheet.size(after)}")
    console.print(f"before and after: {near(target)}")


def _print_json(jobs: list[Job]) -> None:
    found = [
        {
            "photo": job.photo.name,
            "recipe": job.recipe.name,
            "state": job.state,
            "complete": job.complete,
            "seconds": round(job.seconds, 2),
            "error": None if job.complete else job.reason,
            "files": {name: str(path) for name, path in job.files.items()},
        }
        for job in jobs
    ]
    typer.echo(json.dumps(found, ensure_ascii=False))


def _table(jobs: list[Job]) -> Table:
    # Folded, not cut: the file's name is at the end.
    table = Table(Column("photo", overflow="fold"), "size", "renditions", "time", expand=False)
    for job in jobs:
        result = _renditions(job) if job.complete else f"[red]{escape(job.reason)}[/]"
        table.add_row(escape(job.photo.name), sheet.size(job.photo.size), result, f"{job.seconds:.1f} s")
    return table


def _renditions(job: Job) -> str:
    made = job.entry.renditions if job.entry else []
    return "\n".join(
        f"{one['name']}  {one['width']} × {one['height']} {one['format']}, {sheet.size(one['size'])}" for one in made
    )


async def _stay(running: stack.Stack) -> None:
    with stack.environment_file(running.settings) as kept:
        functions, where = running.hosts[0], near(kept)
        console.print(f"still running until Ctrl-C: functions {functions}; settings for other programs in {where}")
        with suppress(asyncio.CancelledError):
            raise await running.failure()
