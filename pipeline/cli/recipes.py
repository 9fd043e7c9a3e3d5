"""Commands `recipes …` and `transforms`: check, explain and document recipes. They need neither services nor a pool."""

import os
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.common import counted, errors_shown
from pipeline.pool import engine_bundle
from pipeline.recipes import explain, load_recipes, reference, schema
from pipeline.settings import Settings, variable

app = typer.Typer(help="Check and explain recipes.", no_args_is_help=True)
File = Annotated[Path | None, typer.Option("--file", help="Recipe file. Default: the one of the settings.")]


def settings() -> Settings:
    """Return the settings. The endpoint of the pool may be missing: these commands do not use it."""
    return Settings.load({variable("pool_endpoint"): "http://127.0.0.1:1", **os.environ})


@app.command()
def check(
    path: Annotated[Path | None, typer.Argument(metavar="FILE", help="Recipe file, in place of --file.")] = None,
    file: File = None,
) -> None:
    """Validate the recipe file: list its recipes, or all errors with their lines and remedies."""
    if path and file:
        raise typer.BadParameter("name one file, as FILE or with --file")
    with errors_shown():
        names = load_recipes(settings(), path or file).names
    typer.echo(f"{counted(len(names), 'recipe')} valid: {', '.join(names)}")


@app.command("explain")
def explain_recipe(
    name: Annotated[str, typer.Argument(help="Name of the recipe.")],
    file: File = None,
    source: Annotated[str, typer.Option(help="Source name, for the output paths.")] = explain.EXAMPLE,
    code: Annotated[bool, typer.Option("--code", help="Also show the code and the job document of a session.")] = False,
) -> None:
    """Explain the steps of a recipe; with --code, also show everything that a session receives."""
    with errors_shown():
        current = settings()
        recipe = load_recipes(current, file).get(name)
    typer.echo(explain.explain(recipe, source))
    if code:
        typer.echo(
            "\n# Code. DOCUMENT stands for the document below, encoded in base64, and KEY for a random number.\n"
        )
        typer.echo(engine_bundle.build().text("DOCUMENT", "KEY"))
        typer.echo("# Job document\n")
        typer.echo(explain.job_text(recipe, current.limits, current.format_names))


@app.command("schema")
def print_schema() -> None:
    """Print the JSON Schema of the recipe file, for editors."""
    typer.echo(schema.text(), nl=False)


def list_transforms() -> None:
    """List the transforms with their parameters and examples."""
    typer.echo(reference.as_text())
