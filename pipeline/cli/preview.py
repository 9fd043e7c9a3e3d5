"""`python -m pipeline preview RECIPE IMAGE…`: what a recipe makes of pictures, without storage."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.common import told
from pipeline.cli.recipes import File, load
from pipeline.errors import ConfigError, PipelineError
from pipeline.jobs import verification
from pipeline.jobs.rendering import error_from_report
from pipeline.pool.batching import WorkItem
from pipeline.pool.report import RenditionFacts
from pipeline.pool.session import Session
from pipeline.recipes import Recipe
from pipeline.services import pool_client
from pipeline.settings import CONNECTION, PREFIX, Settings, StorageAccount

CHUNK = 256 * 1024


def command(
    recipe: Annotated[str, typer.Argument(help="The recipe.")],
    images: Annotated[list[Path], typer.Argument(help="The pictures.", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(help="Folder for the renditions and the contact sheet.")] = Path("preview"),
    assets: Annotated[Path, typer.Option(help="Folder of the pictures and fonts that recipes use.")] = Path("assets"),
    file: File = None,
    open_sheet: Annotated[bool, typer.Option("--open-sheet", help="Show the contact sheet.")] = False,
) -> None:
    """Run a recipe on pictures in a session, of the embedded pool unless the settings name another one."""
    images = list(dict.fromkeys(images))
    with told(), _pool() as endpoint:
        chosen = load(file).get(recipe)
        settings = Settings.load({**os.environ, f"{PREFIX}POOL_ENDPOINT": endpoint})
        made = asyncio.run(_all(settings, chosen, images, assets, out))
        sheet = _sheet(images, made, out)
    for renditions in made:
        for path in renditions:
            typer.echo(path)
    typer.echo(f"before and after: {sheet}")
    if open_sheet:
        typer.launch(str(sheet))


@contextmanager
def _pool() -> Iterator[str]:
    """The pool of the settings, or an embedded one for as long as the block lasts."""
    if endpoint := os.environ.get(f"{PREFIX}POOL_ENDPOINT"):
        yield endpoint
        return
    argv = [
        sys.executable,
        "-m",
        "devstack",
        "session-pool",
        "--max-sessions",
        "1",
        "--spares",
        "0",
        "--log",
        os.devnull,
    ]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        ready = next((line for line in process.stdout if line.startswith("session pool ready: ")), None)
        if ready is None:
            raise ConfigError(f"the embedded session pool does not start; set {PREFIX}POOL_ENDPOINT to use another one")
        yield ready.split()[-1]
    finally:
        process.terminate()
        process.communicate()


async def _all(settings: Settings, recipe: Recipe, images: list[Path], assets: Path, out: Path) -> list[list[Path]]:
    who = StorageAccount(client_id=os.environ.get(f"{CONNECTION}__clientId"))
    client, identity = pool_client(settings, who, os.environ)
    session = Session(client, secrets.token_hex(16), engine_installed=False, lease_is_valid=lambda: True)
    try:
        return [
            await _one(settings, session, recipe, image, name, assets, out) for image, name in _named(images).items()
        ]
    finally:
        # What went wrong before says more than that the session cannot be ended either.
        with suppress(PipelineError):
            await session.end()
        await client.close()
        if identity:
            await identity.close()


def _named(images: list[Path]) -> dict[Path, str]:
    """The names that pictures would have as blobs: those of the files, with folders where two are called the same."""
    whole = {image: Path(os.path.abspath(image)) for image in images}  # noqa: PTH100 - links keep names of their own
    if len({path.name for path in whole.values()}) == len(whole):
        return {image: path.name for image, path in whole.items()}
    above = os.path.commonpath([path.parent for path in whole.values()])
    return {image: path.relative_to(above).as_posix() for image, path in whole.items()}


async def _one(
    settings: Settings, session: Session, recipe: Recipe, image: Path, name: str, assets: Path, out: Path
) -> list[Path]:
    """The renditions of one picture, as files below `out`: where they would be for a blob of that name."""
    size = image.stat().st_size  # noqa: ASYNC240 - nothing else is waiting here
    brought = await _bring(session, recipe, assets)
    with session.workspace({each.name: each.extension or "bin" for each in recipe.renditions}) as names:
        await session.upload(names.source, size, lambda: _chunks(image))
        job = recipe.job(
            source=names.source,
            report=names.report,
            files=names.renditions,
            limits=settings.limits,
            formats=settings.format_names,
            assets=brought,
        )
        report = (await session.execute(WorkItem(job, settings.execution_timeout))).report
        if report.failure:
            raise _about(image, error_from_report(report.failure))
        formats = {each.name: each.formats for each in recipe.renditions}
        facts = verification.check_report(report, names.renditions, formats, settings)
        made = []
        for rendition in recipe.renditions:
            about = facts[rendition.name]
            made.append(await _save(session, about, out / recipe.output_path(rendition, name, about.as_reported)))
        return made


async def _bring(session: Session, recipe: Recipe, assets: Path) -> dict[str, str]:
    """Upload the recipe's assets: the name of each one's file in the session."""
    brought = {name: f"asset-{index}{Path(name).suffix}" for index, name in enumerate(recipe.assets)}
    for name, file in brought.items():
        if not (assets / name).is_file():
            raise ConfigError(f"the recipe uses {name!r}, which is not in the folder {assets}: name one with --assets")
        await session.upload_asset(file, (assets / name).read_bytes())
    return brought


async def _save(session: Session, facts: RenditionFacts, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    async with session.download(facts.file) as chunks:
        path.write_bytes(b"".join([chunk async for chunk in verification.check_bytes(chunks, facts)]))  # noqa: ASYNC240
    return path


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def _about(image: Path, error: PipelineError) -> PipelineError:
    return type(error)(f"{image}: {error.message}", kind=error.kind)


def _sheet(images: list[Path], made: list[list[Path]], out: Path) -> Path:
    from pipeline.cli import sheet  # Pillow is not there where the function app runs

    rows = [
        [sheet.Cell(path, path.name, sheet.size(path.stat().st_size)) for path in (image, *renditions)]
        for image, renditions in zip(images, made, strict=True)
    ]
    target = out / "contact-sheet.png"
    sheet.draw(rows, target)
    return target
