"""Command `preview RECIPE IMAGE…`: render image files in a session, without storage."""

import asyncio
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.common import errors_shown, report_skipped
from pipeline.cli.file_names import name_fault
from pipeline.cli.recipes import File
from pipeline.errors import ConfigError, PipelineError
from pipeline.jobs.rendering import error_from_report
from pipeline.jobs.verification import check_bytes, check_report
from pipeline.pool.batching import WorkItem
from pipeline.pool.client import single_chunk
from pipeline.pool.session import Session
from pipeline.recipes import Recipe, load_recipes
from pipeline.services import pool_client
from pipeline.settings import CONNECTION, Settings, StorageAccount, variable

POOL_ENDPOINT = variable("pool_endpoint")
EMULATOR = [sys.executable, "-m", "devstack", "session-pool", "--max-sessions", "1", "--spares", "0"]
READY = "session pool ready: "


def command(
    recipe: Annotated[str, typer.Argument(help="Name of the recipe.")],
    images: Annotated[list[Path], typer.Argument(help="Image files.", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(help="Folder for the renditions and the contact sheet.")] = Path("preview"),
    assets: Annotated[Path, typer.Option(help="Folder of the images and fonts that recipes use.")] = Path("assets"),
    file: File = None,
    open_sheet: Annotated[bool, typer.Option("--open-sheet", help="Open the contact sheet.")] = False,
) -> None:
    """Render images with a recipe, without storage.

    The session belongs to the pool of the settings, or to a temporary local pool if the settings name none. An image
    whose name no blob can have is reported and skipped; the command then exits with status 1.
    """
    faults = {image: fault for image in images if (fault := name_fault(image.name))}
    images = [image for image in dict.fromkeys(images) if image not in faults]
    if not images:
        report_skipped(faults.values())
    with errors_shown(), _pool() as endpoint:
        settings = Settings.load({**os.environ, POOL_ENDPOINT: endpoint})
        chosen = load_recipes(settings, file).get(recipe)
        rendered = asyncio.run(_render_all(settings, chosen, images, assets, out))
        sheet = _draw_sheet(images, rendered, out)
    for path in (path for renditions in rendered for path in renditions):
        typer.echo(path)
    typer.echo(f"contact sheet: {sheet}")
    if open_sheet:
        typer.launch(str(sheet))
    report_skipped(faults.values())


@contextmanager
def _pool() -> Iterator[str]:
    """Yield the endpoint of the settings' pool, or of a local pool that runs until the block ends."""
    if endpoint := os.environ.get(POOL_ENDPOINT):
        yield endpoint
        return
    process = subprocess.Popen([*EMULATOR, "--log", os.devnull], stdout=subprocess.PIPE, text=True)
    try:
        line = next((line for line in process.stdout or () if line.startswith(READY)), None)
        if line is None:
            raise ConfigError(f"the local session pool does not start; set {POOL_ENDPOINT} to use another pool")
        yield line.removeprefix(READY).strip()
    finally:
        process.terminate()
        process.communicate()


async def _render_all(
    settings: Settings, recipe: Recipe, images: list[Path], assets: Path, out: Path
) -> list[list[Path]]:
    """Render all images in one session, and end it. Returns the files of each image's renditions."""
    account = StorageAccount(client_id=os.environ.get(f"{CONNECTION}__clientId"))
    client, identity = pool_client(settings, account, os.environ)
    session = Session(client, secrets.token_hex(16), engine_installed=False, lease_is_valid=lambda: True)
    preview = _Preview(settings, session, recipe, assets, out)
    try:
        return [await preview.render(image, name) for image, name in _blob_names(images).items()]
    finally:
        # An earlier error says more than this one.
        with suppress(PipelineError):
            await session.end()
        await client.close()
        if identity:
            await identity.close()


def _blob_names(images: list[Path]) -> dict[Path, str]:
    """Return the name of each image as a blob: its file name, with folders if two images have the same file name."""
    absolute = {image: Path(os.path.abspath(image)) for image in images}  # noqa: PTH100 - keeps symbolic links
    if len({path.name for path in absolute.values()}) == len(absolute):
        return {image: path.name for image, path in absolute.items()}
    folder = os.path.commonpath([path.parent for path in absolute.values()])
    return {image: path.relative_to(folder).as_posix() for image, path in absolute.items()}


@dataclass(frozen=True)
class _Preview:
    """Render images of this machine in one session."""

    settings: Settings
    session: Session
    recipe: Recipe
    assets: Path
    out: Path

    async def render(self, image: Path, name: str) -> list[Path]:
        """Write the renditions of an image below `out`, at the paths that they would have for a blob `name`."""
        recipe, settings, data = self.recipe, self.settings, image.read_bytes()  # noqa: ASYNC240 - nothing else runs
        assets = await self._upload_assets()
        with self.session.workspace({each.name: each.extension or "bin" for each in recipe.renditions}) as names:
            await self.session.upload(names.source, len(data), lambda: single_chunk(data))
            job = recipe.job(
                source=names.source,
                report=names.report,
                files=names.renditions,
                limits=settings.limits,
                formats=settings.format_names,
                assets=assets,
            )
            report = (await self.session.execute(WorkItem(job, settings.execution_timeout))).report
            if report.failure:
                error = error_from_report(report.failure)
                raise type(error)(f"{image}: {error.message}", kind=error.kind)
            formats = {each.name: each.formats for each in recipe.renditions}
            facts = check_report(report, names.renditions, formats, settings)
            paths = []
            for rendition in recipe.renditions:
                reported = facts[rendition.name]
                path = self.out / recipe.output_path(rendition, name, reported.as_reported)
                path.parent.mkdir(parents=True, exist_ok=True)
                async with self.session.download(reported.file) as chunks:
                    path.write_bytes(b"".join([chunk async for chunk in check_bytes(chunks, reported)]))
                paths.append(path)
                if reported.dropped:
                    typer.echo(f"{path}: not carried over: {', '.join(reported.dropped)}", err=True)
            return paths

    async def _upload_assets(self) -> dict[str, str]:
        """Upload the assets of the recipe. Returns the file of each asset in the session."""
        files = {name: f"asset-{index}{Path(name).suffix}" for index, name in enumerate(self.recipe.assets)}
        for name, file in files.items():
            path = self.assets / name
            if not path.is_file():
                raise ConfigError(f"there is no asset {name!r} in the folder {self.assets}: name another with --assets")
            await self.session.upload_asset(file, path.read_bytes())
        return files


def _draw_sheet(images: list[Path], rendered: list[list[Path]], out: Path) -> Path:
    """Draw each image next to its renditions. Returns the file of the contact sheet."""
    from pipeline.cli import sheet  # needs Pillow

    rows = [
        [sheet.Cell(path, path.name, sheet.size(path.stat().st_size)) for path in (image, *renditions)]
        for image, renditions in zip(images, rendered, strict=True)
    ]
    target = out / "contact-sheet.png"
    sheet.draw(rows, target)
    return target
