"""Commands about the ledger: rebuild it from the renditions, and spread it over another number of shards."""

from typing import Annotated

import typer

from pipeline.cli.common import Json, console, counted, show_json, with_services
from pipeline.runs.ledger_rebuild import RebuildProgress
from pipeline.storage import MAX_SHARDS

app = typer.Typer(help="Rebuild or reshard the ledger.", no_args_is_help=True)
MEANINGS = {
    "adopted": "adopted",
    "present": "present: the ledger has this row or a newer one",
    "incomplete": "incomplete: renditions are missing",
    "source_gone": "without source",
    "source_changed": "made of another version of the source",
    "source_refused": "with a source that storage refuses to read, such as an archived one",
}
STRAY_MEANINGS = {
    "other_recipe": "made with another version of the recipe",
    "foreign": "with a mark that does not fit: of another pipeline, copied or edited",
}


@app.callback()
def ledger() -> None:
    """Rebuild or reshard the ledger."""


@app.command("rebuild")
def rebuild(
    prefix: Annotated[str, typer.Option(help="Only renditions whose paths start with this.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only; write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Rebuild a lost or restored ledger from the marks of the renditions, without rendering anything.

    Pause the work before, and plan afterwards. The command can be repeated.
    """

    def report(progress: RebuildProgress) -> None:
        counts = f"{counted(progress.renditions, 'rendition')}, {counted(progress.outcomes['adopted'], 'job')} adopted"
        typer.echo(f"pass {progress.passes}: {counts}", err=True)

    progress = with_services(lambda services: services.ledger_rebuild.run(prefix, dry_run=dry_run, report=report))
    counts = progress.as_json()
    if as_json:
        show_json(counts)
        return
    console.print(f"{counted(progress.renditions, 'marked rendition')} read")
    for name, meaning in MEANINGS.items():
        console.print(f"{counted(counts[name], 'job')} {meaning}")
    for name, meaning in STRAY_MEANINGS.items():
        console.print(f"{counted(counts[name], 'rendition')} {meaning}")
    console.print(f"{counted(progress.compared, 'source')} compared by content{'; dry run' if dry_run else ''}")


@app.command("reshard")
def reshard(
    number: Annotated[int, typer.Argument(min=1, max=MAX_SHARDS, help="New number of shards.", show_default=False)],
) -> None:
    """Spread the ledger over another number of shards: more of them take more jobs per second of one recipe.

    The installation must be paused, and no job may be running. The command can be repeated after an interruption.
    Resume the work afterwards.
    """

    def report(step: str) -> None:
        typer.echo(step, err=True)

    moved = with_services(lambda services: services.ledger_reshard.run(number, report))
    console.print(f"{counted(moved, 'row')} moved; the ledger has {counted(number, 'shard')}")
