"""Commands to pause and to resume the start of jobs, and to raise the minimum version."""

from typing import Annotated

import typer

from pipeline import __version__
from pipeline.cli.common import Json, console, show_json, with_services
from pipeline.jobs.pauses import WORK, PauseTimes, Work

Kinds = Annotated[
    list[str] | None,
    typer.Argument(metavar="[uploads|requests|runs]...", help="Kinds of work; all by default.", show_default=False),
]


def pause(work: Kinds = None, as_json: Json = False) -> None:
    """Pause uploads, requests or runs: their jobs wait, and lose nothing.

    Each process notices within 20 s; jobs that are running end. A pause holds for the whole installation until
    `image-pipeline resume`, and uses up no attempts.
    """
    chosen = _chosen(work)
    _show(with_services(lambda services: services.admission.pauses.pause(chosen)), as_json=as_json)


def resume(work: Kinds = None, as_json: Json = False) -> None:
    """Resume uploads, requests or runs after a pause.

    Waiting jobs continue within five minutes. To resume a stopped run, use `image-pipeline runs resume RUN`.
    """
    chosen = _chosen(work)
    _show(with_services(lambda services: services.admission.pauses.resume(chosen)), as_json=as_json)


def minimum_version(
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="New minimum version.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Show or raise the minimum version of the app.

    Instances of an older version start nothing, so that they cannot misread newer data. Raise it only after a
    migration. The minimum never falls:
    raising it ends the rollback to every version below it.
    """
    if version is not None:
        typer.echo(f"This ends the rollback to every version below {version}: its instances will start nothing.")
        if not yes:
            typer.confirm("Raise the minimum version?", abort=True)
        with_services(lambda services: services.admission.pauses.raise_minimum_version(version))
    stored = with_services(lambda services: services.admission.pauses.minimum_version())
    console.print(f"minimum version: {stored or 'none'}; this program has version {__version__}")


def _chosen(words: list[str] | None) -> list[Work]:
    """Return kinds of work by their names. Raises BadParameter for any other word, such as the id of a run."""
    unknown = sorted({*(words or ())} - {*WORK})
    if unknown:
        raise typer.BadParameter(
            f"{unknown[0]!r} is no kind of work: use {', '.join(WORK)}; `image-pipeline runs resume RUN` resumes a run"
        )
    return [work for work in WORK if not words or work in words]


def _show(times: PauseTimes, *, as_json: bool) -> None:
    """Show all pauses."""
    if as_json:
        show_json({"pauses": [{"work": work, "since": since.isoformat()} for work, since in times.items()]})
        return
    for work, since in times.items():
        console.print(f"{work} are paused since {since:%Y-%m-%d %H:%M} UTC")
    if not times:
        console.print("nothing is paused")
