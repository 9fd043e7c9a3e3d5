"""Jobs on the command line: ask for them, look at them, retry and dismiss failures."""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from pipeline.cli.common import ENDLESS, FAILED, Json, console, counted, show_json, told, with_services
from pipeline.errors import JobSuperseded, RequestError
from pipeline.services import Services
from pipeline.storage.entry import STATES, Entry, State
from pipeline.storage.keys import JobKey
from pipeline.storage.ledger_queries import FailureGroup
from pipeline.storage.queue import Message
from pipeline.telemetry import printable

POLL = 0.5
COLOURS = {"done": "green", "failed": "red", "running": "cyan", "queued": "yellow"}
Recipe = Annotated[str | None, typer.Option(help="Only jobs of this recipe.")]


def submit(
    recipe: Annotated[str, typer.Argument(help="The recipe.")],
    sources: Annotated[list[str], typer.Argument(help="Names of blobs in the input container, or files to upload.")],
    wait: Annotated[float, typer.Option(help="Wait so many seconds for the jobs to end.", min=0)] = 0,
    prefix: Annotated[str, typer.Option(help="Upload files under names that begin with this.")] = "",
    as_json: Json = False,
) -> None:
    """Ask for jobs. Files are uploaded into the input container first."""

    async def ask(services: Services) -> list[Entry]:
        await services.catalog.get(recipe)
        keys = [await _submitted(services, recipe, source, prefix) for source in sources]
        return await _ended(services, keys, wait)

    entries = with_services(ask)
    _show(entries, as_json=as_json)
    _exit_if_failed(entries)


async def _submitted(services: Services, recipe: str, source: str, prefix: str) -> JobKey:
    container = services.settings.input_container
    name = source
    data = _file(source)
    if data is not None:
        name = prefix + Path(source).name
        await _new(services, container, name)
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        await services.sources.put(container, name, data, kind)
    try:
        return await services.jobs.submit(Message(recipe=recipe, container=container, name=name))
    except JobSuperseded:
        raise RequestError(
            f"there is neither a file {source} here nor a blob {container}/{name}", kind="source_gone"
        ) from None


def _file(path: str) -> bytes | None:
    """The bytes of a file on this machine; None when there is none."""
    file = Path(path)
    return file.read_bytes() if file.is_file() else None


async def _new(services: Services, container: str, name: str) -> None:
    """Nothing that is there is overwritten."""
    try:
        await services.sources.stat(container, name)
    except JobSuperseded:
        return
    raise RequestError(f"there is a blob {container}/{name} already: ask for it by its name, or give another --prefix")


async def _ended(services: Services, keys: Sequence[JobKey], wait: float) -> list[Entry]:
    """The rows of the jobs, once they have all ended or the time is up."""
    until = asyncio.get_running_loop().time() + wait
    while True:
        entries = [await services.jobs.get(key) for key in keys]
        if all(entry.state not in ("queued", "running") for entry in entries):
            return entries
        if asyncio.get_running_loop().time() >= until:
            return entries
        await asyncio.sleep(POLL)


def list_jobs(
    recipe: Recipe = None,
    state: Annotated[str | None, typer.Option(help=f"One of {', '.join(STATES)}.")] = None,
    prefix: Annotated[str | None, typer.Option(help="Names that start with this, in the order of names.")] = None,
    run: Annotated[str, typer.Option(help="Jobs that this run was the last to do.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Jobs on a page.")] = 50,
    page: Annotated[str, typer.Option(help="The token that the page before ended with.")] = "",
    as_json: Json = False,
) -> None:
    """List jobs, the newest first; by name with --prefix."""

    async def look(services: Services) -> tuple[list[Entry], str]:
        container = services.settings.input_container if prefix is not None else ""
        return await services.ledger.page(
            recipe=recipe,
            state=_state(state),
            container=container,
            prefix=prefix or "",
            run=run,
            limit=limit,
            cursor=page,
        )

    entries, token = with_services(look)
    if as_json:
        show_json({"jobs": [as_dict(entry) for entry in entries], "next": token or None})
        return
    _show(entries)
    if token:
        console.print(f"more: --page {token}", highlight=False, soft_wrap=True)


def _state(state: str | None) -> State | None:
    if state is not None and state not in STATES:
        raise RequestError(f"there is no state {state!r}: use one of {', '.join(STATES)}")
    return state  # type: ignore[return-value] # it is one of them


def show_job(
    job: Annotated[str, typer.Argument(help="The job's id, or a source's name together with --recipe.")],
    recipe: Recipe = None,
    as_json: Json = False,
) -> None:
    """Show everything that is known of one job."""
    entry = with_services(lambda services: services.jobs.get(_key(services, job, recipe)))
    if as_json:
        show_json(as_dict(entry))
    else:
        for name, value in as_dict(entry).items():
            for at, each in enumerate(value if isinstance(value, list) else [value]):
                if each not in ("", None, {}):
                    line = f"{'' if at else name:<10} {_plain(_words(each))}"
                    console.print(line, highlight=False, soft_wrap=True)
    _exit_if_failed([entry])


def _words(value: Any) -> str:  # noqa: ANN401 - whatever JSON holds
    """A value as it is read: a mapping as its names with their values."""
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{name} {_words(each)}" for name, each in value.items() if each not in ("", None, {}))


def _key(services: Services, job: str, recipe: str | None) -> JobKey:
    return JobKey.of(recipe, services.settings.input_container, job) if recipe else JobKey.parse(job)


def failures(
    recipe: Recipe = None,
    kind: Annotated[str, typer.Option(help="Only failures of this kind.")] = "",
    prefix: Annotated[str, typer.Option(help="Only sources whose names start with this.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="The most that are listed.")] = 50,
    as_json: Json = False,
) -> None:
    """List failures with their reasons, and how many there are of each kind."""

    async def look(services: Services) -> tuple[list[FailureGroup], list[Entry]]:
        found = []
        async for entry in services.jobs.failures(recipe=recipe, kind=kind, prefix=prefix):
            found.append(entry)
            if len(found) == limit:
                break
        return await services.ledger.failures_grouped(recipe=recipe), found

    groups, entries = with_services(look)
    if as_json:
        kinds = [{**vars(group), "newest": group.newest.isoformat()} for group in groups]
        show_json({"kinds": kinds, "failures": [as_dict(entry) for entry in entries]})
        return
    if not groups:
        console.print("no failures")
        return
    table = Table("count", "kind", "stages", "newest", "for example")
    for group in groups:
        stages = ", ".join(f"{stage} {count}" for stage, count in group.stages.items())
        table.add_row(str(group.count), group.kind, stages, f"{group.newest:%Y-%m-%d %H:%M}", _plain(group.example))
    console.print(table)
    _show(entries)


def retry(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of jobs.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every failure, as far as the options below narrow it.")] = False,
    recipe: Recipe = None,
    kind: Annotated[str, typer.Option(help="Only failures of this kind.")] = "",
    prefix: Annotated[str, typer.Option(help="Only sources whose names start with this.")] = "",
    as_json: Json = False,
) -> None:
    """Have jobs done once more: those named, or all failures that the options select."""
    with told():
        if bool(ids) == (every or bool(recipe or kind or prefix)):
            raise RequestError("name jobs, or select failures with --all, --recipe, --kind or --prefix")

    async def work(services: Services) -> int:
        if not ids:
            return await services.jobs.retry_failures(recipe=recipe, kind=kind, prefix=prefix)
        for job in ids:
            await services.jobs.retry(JobKey.parse(job))
        return len(ids)

    count = with_services(work)
    show_json({"retried": count}) if as_json else console.print(f"queued again: {counted(count, 'job')}")


def dismiss(
    ids: Annotated[list[str], typer.Argument(help="Ids of jobs.")],
    as_json: Json = False,
) -> None:
    """Let failures be, or take waiting jobs back."""

    async def work(services: Services) -> list[Entry]:
        return [await services.jobs.dismiss(JobKey.parse(job)) for job in ids]

    _show(with_services(work), as_json=as_json)


def as_dict(entry: Entry) -> dict[str, Any]:
    """A job as JSON."""
    error = {
        "kind": entry.error_kind,
        "class": entry.error_class,
        "message": entry.error_message,
        "stage": entry.stage,
        "said": entry.error_tail,
    }
    return {
        "id": entry.key.id,
        "state": entry.state,
        "recipe": entry.key.recipe,
        "source": f"{entry.container}/{entry.name}",
        "etag": entry.version.etag,
        "since": entry.since.isoformat(),
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
    if as_json:
        show_json([as_dict(entry) for entry in entries])
        return
    if console.width < ENDLESS:
        for entry in entries:
            # The terminal breaks what is too long, not we: a line that it broke is still copied as one.
            state, *rest, what, job = _cells(entry)
            console.print("  ".join([state, *rest]), what, job, sep="\n    ", highlight=False, soft_wrap=True)
        return
    table = Table("state", "since", "recipe", "source", "what", "id", box=None)
    for entry in entries:
        table.add_row(*_cells(entry))
    console.print(table)


def _cells(entry: Entry) -> list[str]:
    """A job in a few words, its id the last; whatever its name or what a session said holds, on one line."""
    what = (
        f"{entry.error_kind}: {entry.error_message}"
        if entry.error_kind
        else counted(len(entry.renditions), "rendition")
    )
    return [
        f"[{COLOURS.get(entry.state, 'dim')}]{entry.state}[/]",
        f"{entry.since:%m-%d %H:%M:%S}",
        entry.key.recipe,
        _plain(entry.name),
        _plain(what),
        entry.key.id,
    ]


def _plain(text: str) -> str:
    """A text as a terminal shows it, on one line and without markup."""
    return escape(printable(text))


def _exit_if_failed(entries: Sequence[Entry]) -> None:
    if any(entry.state == "failed" for entry in entries):
        raise typer.Exit(FAILED)
