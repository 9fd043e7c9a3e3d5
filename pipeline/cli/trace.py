"""Command `trace`: draw the timeline of jobs, from the spans that each job has recorded in the ledger."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import timeline
from pipeline.cli.common import console, counted, errors_shown, with_services
from pipeline.errors import ConfigError
from pipeline.services import Services
from pipeline.storage.ledger import Entry

MAX_CONCURRENT_READS = 16


def command(
    run: Annotated[str, typer.Argument(help="Run id. Default: the jobs that ended last.")] = "",
    recipe: Annotated[str | None, typer.Option(help="Only jobs of this recipe.")] = None,
    jobs: Annotated[int, typer.Option(min=1, max=1000, help="Maximum number of jobs.")] = 200,
    out: Annotated[Path, typer.Option(help="Output file: .html or .svg.")] = Path("trace.html"),
) -> None:
    """Draw the timeline of jobs as HTML or SVG."""
    if out.suffix not in (".html", ".svg"):
        raise typer.BadParameter(f"{out} is neither .html nor .svg")
    title = f"run {run}" if run else f"the last jobs{f' of {recipe}' if recipe else ''}"
    lanes = timeline.lanes(with_services(lambda services: _reports(services, run, recipe, jobs)))
    text = timeline.as_svg(lanes, title) if out.suffix == ".svg" else timeline.as_html(lanes, title)
    with errors_shown():
        out.write_text(text, encoding="utf-8")
    for session, share in timeline.utilization(lanes).items():
        console.print(f"session {session}: {share:.0%} busy")
    console.print(", ".join(f"{stage} {ms:.0f} ms" for stage, ms in timeline.medians(lanes).items()))
    console.print(f"{counted(len(lanes), 'job')} in {out}")


async def _reports(services: Services, run: str, recipe: str | None, limit: int) -> list[tuple[str, dict[str, object]]]:
    """Return the source names and reports of done jobs, newest first. Raises ConfigError if there are none."""
    entries: list[Entry] = []
    cursor = ""
    while not entries or (cursor and len(entries) < limit):
        page, cursor = await services.ledger.page(recipe=recipe, state="done", run=run, limit=limit, cursor=cursor)
        entries += page
        if not entries and not cursor:
            raise ConfigError(f"nothing to draw: no job {f'of run {run}' if run else 'with these settings'} is done")
    semaphore = asyncio.Semaphore(MAX_CONCURRENT_READS)

    async def read(entry: Entry) -> Entry | None:
        async with semaphore:
            return await services.ledger.get(entry.key)

    complete = await asyncio.gather(*(read(entry) for entry in entries[:limit]))
    return [(entry.name, entry.report) for entry in complete if entry]
