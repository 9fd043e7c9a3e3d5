"""The figures in the documentation equal the pipeline's own estimates."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from pipeline.runs.estimates import Estimate, Measured, estimate
from pipeline.settings import Settings

DOCS = Path(__file__).parents[1] / "docs"
RENDITIONS = 3


def rows(page: str, columns: int) -> list[list[float]]:
    """Return the rows of a page's table that hold exactly `columns` numbers."""
    lines = re.findall(r"^\|((?: [\d,.]+ \|)+)$", (DOCS / page).read_text(), flags=re.MULTILINE)
    found = [[float(cell.replace(",", "")) for cell in line.strip(" |").split("|")] for line in lines]
    return [row for row in found if len(row) == columns]


def estimated(images: float, sessions: float, session_jobs: float | None = None) -> Estimate:
    """Return the estimate at default prices and without measurements."""
    environ = {"PIPELINE_POOL_ENDPOINT": "http://127.0.0.1:1", "PIPELINE_POOL_MAX_SESSIONS": f"{sessions:.0f}"}
    if session_jobs:
        environ["PIPELINE_SESSION_MAX_JOBS"] = f"{session_jobs:.0f}"
    jobs = int(images)
    return estimate(Settings.load(environ), Counter(web=jobs), Counter(web=RENDITIONS * jobs), Measured({}, 0))


def test_the_worked_examples_of_cost_are_estimates() -> None:
    examples = rows("cost.md", 8)
    assert len(examples) >= 6
    for images, sessions, session_jobs, *told in examples:
        said = estimated(images, sessions, session_jobs)
        money = said.money
        figures = [said.minutes, said.session_hours, money["sessions"], money["storage"], money["total"]]
        assert told == pytest.approx(figures, abs=0.051), f"{images:,.0f} in {sessions:.0f}: {figures}"


def test_the_arithmetic_of_architecture_is_an_estimate() -> None:
    examples = rows("architecture.md", 4)
    assert len(examples) >= 4
    for images, sessions, minutes, rate in examples:
        said = estimated(images, sessions)
        assert minutes == pytest.approx(said.minutes, abs=0.051)
        assert rate == pytest.approx(images / said.minutes / 60, abs=1)


def test_the_cost_page_has_the_default_prices() -> None:
    fields = {name: field.default for name, field in Settings.model_fields.items()}
    text = (DOCS / "cost.md").read_text()
    assert f"| {fields['price_session_hour']} |" in text
    assert f"| {fields['price_writes']} |" in text
    assert f"| {fields['price_operations']} |" in text
    assert f"default {fields['session_max_jobs']}" in text
    assert f"{fields['session_max_age']:,} s" in text
