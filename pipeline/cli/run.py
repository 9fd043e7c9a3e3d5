"""Command `run FOLDER`: process a folder of images with a temporary local stack."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.common import Json, errors_shown
from pipeline.errors import ConfigError


def command(
    folder: Annotated[Path, typer.Argument(help="Folder of images.", exists=True, file_okay=False)],
    recipe: Annotated[str | None, typer.Option(help="Use only this recipe. Default: the recipes that match.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the renditions and the contact sheet.")] = Path("out"),
    max_sessions: Annotated[int, typer.Option(min=1, help="Concurrent sessions.")] = 4,
    as_json: Json = False,
) -> None:
    """Process a folder of images with a temporary local stack.

    A file whose name no blob can have is reported and skipped. Exits with status 1 if an image failed or was skipped.
    """
    with errors_shown():
        if importlib.util.find_spec("devstack") is None:
            raise ConfigError("the local stack (devstack/) is missing: run this command in a clone of the project")
    options = [*(["--recipe", recipe] if recipe else []), *(["--json"] if as_json else [])]
    argv = ["demo", str(folder), "--out", str(out), "--max-sessions", str(max_sessions), *options]
    raise typer.Exit(subprocess.run([sys.executable, "-m", "devstack", *argv], check=False).returncode)
