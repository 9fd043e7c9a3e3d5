"""Run commands in this process: the start of a process takes longer than most commands."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from pipeline.cli import build
from tests.stack import Stack


def pipeline(*arguments: str | Path, **environ: str) -> Result:
    """Run a command without the settings of this process."""
    unset = {name: None for name in os.environ if name.startswith(("PIPELINE_", "IMAGES"))}
    return CliRunner().invoke(build(str(arguments[0])), list(map(str, arguments)), env={**unset, **environ})


async def pipeline_json(stack: Stack, *arguments: str | Path, status: int = 0) -> Any:
    """Return the JSON that a command prints; the event loop keeps running meanwhile."""
    result = await asyncio.to_thread(pipeline, *arguments, "--json", **stack.environ)
    assert result.exit_code == status, result.output
    return json.loads(result.stdout)
