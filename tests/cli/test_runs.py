"""Runs as the command line shows them."""

from __future__ import annotations

import pytest
import typer

from pipeline.cli import runs
from pipeline.cli.common import FAILED, console
from pipeline.runs import Progress, Run, Selection


def test_a_run_that_leaves_due_jobs_says_so_by_its_state_and_status() -> None:
    why = "more is due: 1 jobs were planned, 1 at most"
    run = Run(id="a", selection=Selection(), state="done", most=1, more_due=True, why=why, progress=Progress(done=1))
    with console.capture() as output, pytest.raises(typer.Exit) as ended:
        runs._finish(run, as_json=False)
    assert ended.value.exit_code == FAILED
    assert "done, more is due" in " ".join(output.get().split())
