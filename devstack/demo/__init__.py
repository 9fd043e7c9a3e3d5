"""Run the demo (`scripts/demo`): upload photos to a temporary local stack and download their renditions."""

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

from devstack import stack
from devstack.demo import photos
from devstack.demo.jobs import Job, Pipeline, Plan, open_pipeline, plan_jobs
from devstack.errors import DevstackError
from devstack.run_until_signal import run_until_signal
from devstack.state import ROOT, STATE_FOLDER, short_path
from pipeline.cli import sheet

LOG_FILE = STATE_FOLDER / "demo.log"
# The recipes are loaded before the pool starts, but the settings require an endpoint.
PLACEHOLDER_SETTINGS = {"PIPELINE_POOL_ENDPOINT": "http://127.0.0.1"}
INTERRUPTED_STATUS = 130
console = Console()


def command(
    folder: Annotated[Path | None, typer.Argument(help="Folder of photos; default: sample photos.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Name of the only recipe to use; default: all that match.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the renditions.")] = ROOT / "demo-output",
    keep: Annotated[bool, typer.Option("--keep", help="Keep the stack running afterwards, until Ctrl-C.")] = False,
    max_sessions: Annotated[int, typer.Option(min=1, help="Maximum number of concurrent sessions.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result of every job as JSON.")] = False,
) -> None:
    """Create renditions of photos on this machine. Exits with 1 unless every photo has every rendition."""
    # With --json, standard output has only the JSON; other output goes to standard error.
    console.stderr = as_json
    report = _print_json if as_json else None
    run_until_signal(
        _demo(folder, recipe, out, max_sessions, keep=keep, report=report), interrupted_status=INTERRUPTED_STATUS
    )


async def _demo(
    folder: Path | None,
    recipe: str | None,
    out: Path,
    max_sessions: int,
    *,
    keep: bool,
    report: Callable[[list[Job]], None] | None,
) -> None:
    chosen = photos.photos_in_folder(folder) if folder else await asyncio.to_thread(photos.sample_photos)
    for fault in chosen.faults:
        console.print(f"[yellow]skipped {escape(fault)}[/]", highlight=False)
    plan = plan_jobs(chosen.usable, recipe, {**PLACEHOLDER_SETTINGS, **os.environ})
    _ensure_writable(out)
    options = stack.StackOptions(max_sessions=max_sessions, data=None)
    with _log_file() as output, console.status("starting storage, session pool and function host …") as status:
        async with stack.running(options, output) as running:
            status.stop()
            async with open_pipeline({**os.environ, **running.settings}) as pipeline:
                await _run_while_stack_works(running, _process(pipeline, plan, out))
                _show(plan, out)
                if report:
                    report(plan.jobs)
            if keep:
                await _keep_running(running)
            if not all(job.complete for job in plan.jobs):
                raise DevstackError(
                    f"renditions are missing: the table shows why, and {short_path(LOG_FILE)} has all logs"
                )
            if chosen.faults:
                raise DevstackError("files were skipped:\n" + "\n".join(chosen.faults))


def _ensure_writable(out: Path) -> None:
    """Check the output folder before the jobs run."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise DevstackError(
            f"{short_path(out)} cannot be written ({error.strerror}): name another folder with --out"
        ) from None


@contextmanager
def _log_file() -> Iterator[stack.Output]:
    """Write the output of all parts to a file; print warnings of the stack as well."""
    LOG_FILE.parent.mkdir(parents=True, exist_ok=True)
    with LOG_FILE.open("w", buffering=1) as log:

        def output(part: str, line: str) -> None:
            """Write a line; print it as well if it is a warning."""
            log.write(f"{part:>12} | {line}\n")
            if line.startswith("warning:"):
                console.print(f"[yellow]{escape(line)}[/]", highlight=False)

        yield output


async def _run_while_stack_works(running: stack.Stack, work: Coroutine[None, None, None]) -> None:
    """Run `work`; cancel it and raise if the stack fails."""
    task, failure = asyncio.create_task(work), asyncio.create_task(running.failure())
    try:
        await asyncio.wait([task, failure], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise failure.result()
        task.result()
    finally:
        for each in (task, failure):
            each.cancel()
        await asyncio.gather(task, failure, return_exceptions=True)


async def _process(pipeline: Pipeline, plan: Plan, out: Path) -> None:
    """Upload the photos, show the progress of their jobs and download the renditions."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("photos", total=len(plan.jobs))

        def show_progress() -> None:
            """Update the progress bar from the states of the jobs."""
            states = [job.state for job in plan.jobs]
            counts = [f"{states.count(each)} {each}" for each in ("running", "queued", "failed") if each in states]
            description = f"photos {', '.join(counts)}"
            progress.update(bar, completed=sum(job.ended for job in plan.jobs), description=description)

        await pipeline.upload(plan.jobs)
        await pipeline.follow(plan.jobs, show_progress)
        for job in plan.jobs:
            await pipeline.download(job, out)


def _show(plan: Plan, out: Path) -> None:
    contact_sheet = out / "contact-sheet.png"
    sheet.draw([_sheet_row(job) for job in plan.jobs], contact_sheet)
    console.print(_table(plan.jobs))
    if plan.skipped:
        console.print(f"no recipe matches {', '.join(photo.name for photo in plan.skipped)}")
    files = [path for job in plan.jobs for path in job.files.values()]
    before, after = sum(job.photo.size for job in plan.jobs), sum(path.stat().st_size for path in files)
    count = f"{len(files)} rendition{'s' if len(files) != 1 else ''}"
    console.print(f"{count} in {short_path(out)}: {sheet.size(before)} became {sheet.size(after)}")
    console.print(f"contact sheet: {short_path(contact_sheet)}")


def _sheet_row(job: Job) -> list[sheet.Cell]:
    """Return the photo of a job and its renditions, for the contact sheet."""
    source = sheet.Cell(job.photo.path, job.photo.name, f"before · {sheet.size(job.photo.size)}")
    renditions = {each["name"]: each for each in (job.entry.renditions if job.entry else [])}
    return [source, *(_sheet_cell(renditions[name], path) for name, path in job.files.items())]


def _sheet_cell(rendition: dict[str, object], path: Path) -> sheet.Cell:
    detail = f"{rendition['width']} x {rendition['height']} {rendition['format']} · {sheet.size(path.stat().st_size)}"
    return sheet.Cell(path, str(rendition["name"]), detail)


def _print_json(jobs: list[Job]) -> None:
    results = [
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
    typer.echo(json.dumps(results, ensure_ascii=False))


def _table(jobs: list[Job]) -> Table:
    # Wrap long names: truncation would hide the end of the path, the file name.
    table = Table(Column("photo", overflow="fold"), "size", "renditions", "time", expand=False)
    for job in jobs:
        result = _renditions(job) if job.complete else f"[red]{escape(job.reason)}[/]"
        table.add_row(escape(job.photo.name), sheet.size(job.photo.size), result, f"{job.seconds:.1f} s")
    return table


def _renditions(job: Job) -> str:
    renditions = job.entry.renditions if job.entry else []
    return "\n".join(
        f"{each['name']}  {each['width']} × {each['height']} {each['format']}, {sheet.size(each['size'])}"
        for each in renditions
    )


async def _keep_running(running: stack.Stack) -> None:
    with stack.environment_file(running.settings) as file:
        functions, settings = running.hosts[0], short_path(file)
        console.print(f"running until Ctrl-C: functions {functions}; settings for other programs in {settings}")
        with suppress(asyncio.CancelledError):
            raise await running.failure()
