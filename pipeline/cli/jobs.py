"""Commands about jobs: submit and list jobs, show one, list, retry and dismiss failures."""

import asyncio
import mimetypes
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from pipeline.cli.common import (
    FAILED,
    UNLIMITED_WIDTH,
    Json,
    console,
    counted,
    errors_shown,
    report_skipped,
    show_cursor,
    show_json,
    with_services,
)
from pipeline.cli.file_names import name_fault
from pipeline.errors import JobSuperseded, RequestError
from pipeline.services import Services
from pipeline.storage import Entry, FailureGroup, JobKey, Message, State
from pipeline.telemetry import printable

POLL_INTERVAL_SECONDS = 0.5
STATE_COLORS = {"done": "green", "failed": "red", "running": "cyan", "queued": "yellow"}
Ids = Annotated[list[str], typer.Argument(help="Job ids.")]
Recipe = Annotated[str | None, typer.Option(help="Only jobs of this recipe.")]
Kind = Annotated[str, typer.Option(help="Only failures of this kind.")]
Prefix = Annotated[str, typer.Option(help="Only sources whose names start with this.")]


def submit(
    recipe: Annotated[str, typer.Argument(help="Name of the recipe.")],
    sources: Annotated[list[str], typer.Argument(help="Blob names in the input container, or files to upload.")],
    wait: Annotated[float, typer.Option(help="Maximum seconds to wait for the jobs.", min=0)] = 0,
    prefix: Annotated[str, typer.Option(help="Prefix of the blob names of uploaded files.")] = "",
    as_json: Json = False,
) -> None:
    """Submit jobs for files or stored sources.

    Files are uploaded to the input container first. A file whose name no blob can have is reported and skipped; the
    command then exits with status 1.
    """
    faults = {source: fault for source in sources if (fault := name_fault(_blob_name(source, prefix)))}

    async def work(services: Services) -> list[Entry]:
        await services.catalog.get(recipe)
        usable = [source for source in sources if source not in faults]
        keys = [await _submit(services, recipe, source, prefix) for source in usable]
        return await _wait(services, keys, wait)

    entries = with_services(work)
    _show(entries, as_json=as_json)
    report_skipped(faults.values())
    _exit_if_failed(entries)


def _blob_name(source: str, prefix: str) -> str:
    """Return the name of a stored source, or the one that a file gets."""
    file = Path(source)
    return prefix + file.name if file.is_file() else source


async def _submit(services: Services, recipe: str, source: str, prefix: str) -> JobKey:
    """Submit a job for a blob, or for a file after its upload. An existing blob is never overwritten."""
    container, file, name = services.settings.input_container, Path(source), _blob_name(source, prefix)
    if file.is_file():  # noqa: ASYNC240 - nothing else runs in this loop
        if await _exists(services, container, name):
            raise RequestError(f"the blob {container}/{name} exists: submit it by its name, or use another --prefix")
        content_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        await services.sources.put(container, name, file.read_bytes(), content_type)  # noqa: ASYNC240
    elif not await _exists(services, container, name):
        raise RequestError(f"there is neither a file {source} nor a blob {container}/{name}", kind="source_gone")
    return await services.jobs.submit(Message(recipe=recipe, container=container, name=name, requested=True))


async def _exists(services: Services, container: str, name: str) -> bool:
    try:
        await services.sources.stat(container, name)
    except JobSuperseded:
        return False
    return True


async def _wait(services: Services, keys: Sequence[JobKey], seconds: float) -> list[Entry]:
    """Return the ledger entries when all jobs have ended, or after `seconds`."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        entries = [await services.jobs.get(key) for key in keys]
        ended = all(entry.state not in ("queued", "running") for entry in entries)
        if ended or asyncio.get_running_loop().time() >= deadline:
            return entries
        await asyncio.sleep(POLL_INTERVAL_SECONDS)


def list_jobs(
    recipe: Recipe = None,
    state: Annotated[State | None, typer.Option(help="Only jobs in this state.")] = None,
    prefix: Annotated[str | None, typer.Option(help="Only sources whose names start with this, by name.")] = None,
    run: Annotated[str, typer.Option(help="Only jobs whose last run is this one.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Jobs per page.")] = 50,
    cursor: Annotated[str, typer.Option(help="Cursor from the end of the previous page.")] = "",
    as_json: Json = False,
) -> None:
    """List jobs, newest first.

    With --prefix, the jobs are sorted by name.
    """

    async def work(services: Services) -> tuple[list[Entry], str]:
        container = services.settings.input_container if prefix is not None else ""
        return await services.ledger.page(
            recipe=recipe, state=state, container=container, prefix=prefix or "", run=run, limit=limit, cursor=cursor
        )

    entries, next_cursor = with_services(work)
    if as_json:
        show_json({"jobs": [as_dict(entry) for entry in entries], "next": next_cursor or None})
    else:
        _show(entries)
        show_cursor(next_cursor)


def show_job(
    job: Annotated[str, typer.Argument(help="Job id; with --recipe, the name of a source.")],
    recipe: Annotated[str | None, typer.Option(help="Recipe of the job, if JOB is the name of a source.")] = None,
    as_json: Json = False,
) -> None:
    """Show one job.

    Exits with status 3 if the job has failed.
    """

    def key(services: Services) -> JobKey:
        return JobKey.of(recipe, services.settings.input_container, job) if recipe else JobKey.parse(job)

    entry = with_services(lambda services: services.jobs.get(key(services)))
    if as_json:
        show_json(as_dict(entry))
    else:
        for name, value in as_dict(entry).items():
            items = [item for item in (value if isinstance(value, list) else [value]) if item not in ("", None, {})]
            for index, item in enumerate(items):
                console.print(f"{'' if index else name:<10} {_plain(_text(item))}", soft_wrap=True)
    _exit_if_failed([entry])


def _text(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Format a value for reading: a mapping as its names and values."""
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{name} {_text(item)}" for name, item in value.items() if item not in ("", None, {}))


def failures(
    recipe: Recipe = None,
    kind: Kind = "",
    prefix: Prefix = "",
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of listed failures.")] = 50,
    as_json: Json = False,
) -> None:
    """List failures, and count them by kind."""

    async def work(services: Services) -> tuple[list[FailureGroup], list[Entry]]:
        entries = []
        async for entry in services.jobs.failures(recipe=recipe, kind=kind, prefix=prefix):
            entries.append(entry)
            if len(entries) == limit:
                break
        return await services.ledger.failures_grouped(recipe=recipe), entries

    groups, entries = with_services(work)
    if as_json:
        kinds = [{**vars(group), "newest": group.newest.isoformat()} for group in groups]
        show_json({"kinds": kinds, "failures": [as_dict(entry) for entry in entries]})
        return
    table = Table("count", "kind", "stages", "newest", "example")
    for group in groups:
        stages = ", ".join(f"{stage} {count}" for stage, count in group.stages.items())
        table.add_row(str(group.count), group.kind, stages, f"{group.newest:%Y-%m-%d %H:%M}", _plain(group.example))
    console.print(table if groups else "no failures")
    if entries:
        _show(entries)


def retry(
    ids: Annotated[list[str] | None, typer.Argument(help="Job ids.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All failures that match the other options.")] = False,
    recipe: Recipe = None,
    kind: Kind = "",
    prefix: Prefix = "",
    as_json: Json = False,
) -> None:
    """Retry failed jobs.

    Name their ids, or select failures with options. By its id, a job is also retried whose worker has stopped, or that
    has been queued for over an hour.
    """
    with errors_shown():
        if bool(ids) == (every or bool(recipe or kind or prefix)):
            raise RequestError("name job ids, or select failures with --all, --recipe, --kind or --prefix")

    async def work(services: Services) -> int:
        if not ids:
            return await services.jobs.retry_failures(recipe=recipe, kind=kind, prefix=prefix)
        return len([await services.jobs.retry(JobKey.parse(job)) for job in ids])

    count = with_services(work)
    show_json({"retried": count}) if as_json else console.print(f"retried: {counted(count, 'job')}")


def dismiss(ids: Ids, as_json: Json = False) -> None:
    """Dismiss failures or cancel queued jobs."""

    async def work(services: Services) -> list[Entry]:
        return [await services.jobs.dismiss(JobKey.parse(job)) for job in ids]

    _show(with_services(work), as_json=as_json)


def as_dict(entry: Entry) -> dict[str, Any]:
    """Return a job as JSON."""
    error = {
        "kind": entry.error_kind,
        "class": entry.error_class,
        "message": entry.error_message,
        "stage": entry.stage,
        "stderr_tail": entry.error_tail,
    }
    return {
        "id": entry.key.id,
        "state": entry.state,
        "recipe": entry.key.recipe,
        "source": f"{entry.container}/{entry.name}",
        "etag": entry.version.etag,
        "since": entry.since.isoformat(),
        "claim_expired": entry.claim_expired,
        "attempts": entry.attempts,
        "run": entry.run or None,
        "bytes_in": entry.bytes_in,
        "bytes_out": entry.bytes_out,
        "ms": entry.ms,
        "versions": entry.versions,
        "renditions": entry.renditions,
        "error": error if entry.error_kind else None,
    }


def _show(entries: Sequence[Entry], *, as_json: bool = False) -> None:
    """Print jobs: as JSON, as a table for pipes, or on several lines each for terminals."""
    if as_json:
        show_json([as_dict(entry) for entry in entries])
    elif console.width < UNLIMITED_WIDTH:
        for *cells, result, job_id in map(_cells, entries):
            # The terminal wraps long lines, so a copied id has no line breaks.
            console.print("  ".join(cells), result, job_id, sep="\n    ", soft_wrap=True)
    else:
        table = Table("state", "since", "recipe", "source", "result", "id", box=None)
        for entry in entries:
            table.add_row(*_cells(entry))
        console.print(table)


def _cells(entry: Entry) -> list[str]:
    """Return the columns of a job, each on one line: blob names and session output may contain control characters."""
    renditions = counted(entry.summarized.renditions, "rendition")
    dropped = sorted({name for each in entry.renditions for name in each.get("dropped", ())})
    if dropped:
        renditions += f"; not carried over: {', '.join(dropped)}"
    return [
        "[red]claim expired[/]" if entry.claim_expired else f"[{STATE_COLORS.get(entry.state, 'dim')}]{entry.state}[/]",
        f"{entry.since:%m-%d %H:%M:%S}",
        entry.key.recipe,
        _plain(entry.name),
        _plain(f"{entry.error_kind}: {entry.error_message}" if entry.error_kind else renditions),
        entry.key.id,
    ]


def _plain(text: str) -> str:
    """Return a text for a terminal, on one line and without markup."""
    return escape(printable(text))


def _exit_if_failed(entries: Sequence[Entry]) -> None:
    if any(entry.state == "failed" for entry in entries):
        raise typer.Exit(FAILED)
