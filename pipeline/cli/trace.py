"""`python -m pipeline trace`: where the time went, as a picture."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import timeline
from pipeline.cli.common import console, counted, told, with_services
from pipeline.errors import ConfigError
from pipeline.services import Services
from pipeline.storage.ledger import Entry

AT_ONCE = 16


def command(
    run: Annotated[str, typer.Argument(help="The run; without one, the jobs that ended last.")] = "",
    recipe: Annotated[str | None, typer.Option(help="Only this recipe's jobs.")] = None,
    jobs: Annotated[int, typer.Option(min=1, max=1000, help="So many jobs at most.")] = 200,
    out: Annotated[Path, typer.Option(help="The picture: .html or .svg.")] = Path("trace.html"),
) -> None:
    """Draw what every session and every job did when."""
    if out.suffix not in (".html", ".svg"):
        raise typer.BadParameter(f"{out} is neither .html nor .svg")
    title = f"run {run}" if run else f"the last jobs{f' of {recipe}' if recipe else ''}"
    found = timeline.lanes(with_services(lambda services: _noted(services, run, recipe, jobs)))
    text = timeline.as_svg(found, title) if out.suffix == ".svg" else timeline.as_html(found, title)
    with told():
        out.write_text(text, encoding="utf-8")
    for session, part in timeline.busy(found).items():
        console.print(f"session {session}: {part:.0%} busy")
    console.print(", ".join(f"{stage} {ms:.0f} ms" for stage, ms in timeline.medians(found).items()))
    console.print(f"{counted(len(found), 'job')} in {out}")


async def _noted(services: Services, run: str, recipe: str | None, most: int) -> list[tuple[str, dict[str, object]]]:
    """Names and reports of jobs that are done. ConfigError when there are none."""
    entries, token = await services.ledger.page(recipe=recipe, state="done", run=run, limit=most)
    while token and len(entries) < most:
        more, token = await services.ledger.page(recipe=recipe, state="done", run=run, limit=most, cursor=token)
        entries += more
    if not entries:
        raise ConfigError(f"no job of {f'run {run}' if run else 'these settings'} is done: there is nothing to draw")
    gate = asyncio.Semaphore(AT_ONCE)

    async def whole(entry: Entry) -> Entry | None:
        async with gate:
            return await services.ledger.get(entry.key)

    found = await asyncio.gather(*(whole(entry) for entry in entries[:most]))
    return [(entry.name, entry.report) for entry in found if entry]
