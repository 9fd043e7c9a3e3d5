"""Runs as the command line shows them."""

from __future__ import annotations

import pytest
import typer

from pipeline.cli import runs
from pipeline.cli.common import FAILED, console
from pipeline.runs import Plan, Progress, Run, Selection
from pipeline.runs.model import Estimate


def test_a_run_that_leaves_due_jobs_says_so_by_its_state_and_status() -> None:
    why = "more is due: 1 jobs were planned, 1 at most"
    run = Run(id="a", selection=Selection(), state="done", most=1, more_due=True, why=why, progress=Progress(done=1))
    with console.capture() as output, pytest.raises(typer.Exit) as ended:
        runs._finish(run, as_json=False)
    assert ended.value.exit_code == FAILED
    assert "done, more is due" in " ".join(output.get().split())


@pytest.mark.parametrize(
    ("money", "line"),
    [
        ({"total": 0.0}, "at most $0.00\n"),
        ({"sessions": 0.03, "storage": 0.01, "total": 0.04}, "at most $0.04: sessions $0.03, storage $0.01\n"),
    ],
    ids=["nothing due", "two prices"],
)
def test_a_plan_lists_the_prices_that_it_has(money: dict[str, float], line: str) -> None:
    with console.capture() as output:
        runs._show_plan(Plan(id="a", selection=Selection(), estimate=Estimate(money=money)))
    assert output.get().endswith(line)
