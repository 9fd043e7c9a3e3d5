"""`python -m pipeline recipes …`: look at the recipe file without running anything."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pipeline import recipes
from pipeline.cli.common import counted, told
from pipeline.pool import engine_bundle
from pipeline.recipes import Recipes, explain, reference, schema
from pipeline.services import ROOT, code_folder
from pipeline.settings import PREFIX, Settings

app = typer.Typer(help="Check and explain recipes.", no_args_is_help=True)
# What a recipe file says does not depend on a pool, so that these commands do without one.
NOWHERE = {f"{PREFIX}POOL_ENDPOINT": "http://127.0.0.1:1"}

File = Annotated[Path | None, typer.Option("--file", help="The recipe file; the one in the settings by default.")]


def settings() -> Settings:
    """The settings, without those that only a running pipeline needs."""
    return Settings.load({**NOWHERE, **os.environ})


def load(file: Path | None) -> Recipes:
    """The recipes of a file, or of the one in the settings, which are relative to the app's folder."""
    known = settings()
    return recipes.load(
        file or ROOT / known.recipes,
        input_container=known.input_container,
        output_container=known.output_container,
        allow_code=known.allow_code,
        code_folder=code_folder(known),
    )


@app.command()
def check(
    path: Annotated[Path | None, typer.Argument(metavar="FILE", help="The recipe file, in place of --file.")] = None,
    file: File = None,
) -> None:
    """Say whether the recipe file is right, and what is to be changed where it is not."""
    if path and file:
        raise typer.BadParameter("name one file, as FILE or with --file")
    with told():
        names = load(path or file).names
    typer.echo(f"{counted(len(names), 'recipe')} {'is' if len(names) == 1 else 'are'} right: {', '.join(names)}")


@app.command("explain")
def explain_recipe(
    name: Annotated[str, typer.Argument(help="The recipe.")],
    file: File = None,
    source: Annotated[str, typer.Option(help="A source to show output paths for.")] = explain.EXAMPLE,
    code: Annotated[bool, typer.Option("--code", help="Show the code and the job document too.")] = False,
) -> None:
    """Say what a recipe does, step by step; with --code also exactly what a session gets."""
    with told():
        recipe, known = load(file).get(name), settings()
    typer.echo(explain.explain(recipe, source))
    if code:
        typer.echo("\n# the code, with the document below in place of DOCUMENT, in base64\n")
        typer.echo(engine_bundle.build().text("DOCUMENT"))
        typer.echo("# the job document\n")
        typer.echo(explain.job_text(recipe, known.limits, known.format_names))


@app.command("schema")
def print_schema() -> None:
    """Print the JSON Schema of the recipe file, for editors."""
    typer.echo(schema.text(), nl=False)


def list_transforms() -> None:
    """List the transforms with their parameters and examples."""
    typer.echo(reference.as_text())
