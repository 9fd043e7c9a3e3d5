"""`python -m pipeline run FOLDER`: the embedded stack comes up, does a folder of images, and goes away again."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.common import Json, told
from pipeline.errors import ConfigError


def command(
    folder: Annotated[Path, typer.Argument(help="Folder of images.", exists=True, file_okay=False)],
    recipe: Annotated[str | None, typer.Option(help="One recipe by its name; those that match by default.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the renditions and a sheet of before and after.")] = Path("out"),
    max_sessions: Annotated[int, typer.Option(min=1, help="Sessions at once.")] = 4,
    as_json: Json = False,
) -> None:
    """Do a folder of images on this machine: everything is started, used and stopped. Fails unless all is done."""
    with told():
        if importlib.util.find_spec("devstack") is None:
            raise ConfigError("the embedded stack (devstack/) is not here: run this from a clone of the project")
    options = [*(["--recipe", recipe] if recipe else []), *(["--json"] if as_json else [])]
    argv = ["demo", str(folder), "--out", str(out), "--max-sessions", str(max_sessions), *options]
    raise typer.Exit(subprocess.run([sys.executable, "-m", "devstack", *argv], check=False).returncode)
