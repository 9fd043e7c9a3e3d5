"""Commands about the ledger: rebuild it from the renditions."""

from typing import Annotated

import typer

from pipeline.cli.common import Json, console, counted, show_json, with_services
from pipeline.runs.ledger_rebuild import RebuildProgress

app = typer.Typer(help="Rebuild a lost or restored ledger.", no_args_is_help=True)
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
    """Rebuild a lost or restored ledger."""


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
