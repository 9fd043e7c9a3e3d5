"""The figures in the documentation equal the pipeline's own estimates."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import cost_tables
from pipeline.settings import Settings

DOCS = Path(__file__).parents[1] / "docs"


def rows(page: str, columns: int) -> list[list[float]]:
    """Return the rows of a page's table that hold exactly `columns` numbers."""
    lines = re.findall(r"^\|((?: [\d,.]+ \|)+)$", (DOCS / page).read_text(), flags=re.MULTILINE)
    found = [[float(cell.replace(",", "")) for cell in line.strip(" |").split("|")] for line in lines]
    return [row for row in found if len(row) == columns]


def test_the_tables_of_cost_are_estimates() -> None:
    page = (DOCS / "cost.md").read_text()
    assert cost_tables.with_tables(page) == page, "run scripts/docs"
    assert len(rows("cost.md", 9)) == len(cost_tables.EXAMPLES)


def test_the_arithmetic_of_architecture_is_an_estimate() -> None:
    examples = rows("architecture.md", 4)
    assert len(examples) >= 4
    for images, sessions, minutes, rate in examples:
        said = cost_tables.run_estimate(int(images), int(sessions))
        assert minutes == pytest.approx(said.minutes, abs=0.051)
        assert rate == pytest.approx(images / said.minutes / 60, abs=1)


def test_the_cost_page_has_the_default_prices() -> None:
    fields = {name: field.default for name, field in Settings.model_fields.items()}
    text = (DOCS / "cost.md").read_text()
    assert f"| {fields['price_session_hour']} |" in text
    assert f"| {fields['price_writes']} |" in text
    assert f"| {fields['price_operations']} |" in text
    assert f"| {fields['price_gb_second']:f} |" in text
    assert f"PIPELINE_RUN_MAX_COST` ({fields['run_max_cost']:g})" in text
    assert f"PIPELINE_MONTH_MAX_COST` ({fields['month_max_cost']:g})" in text
    assert f"default {fields['session_max_jobs']}" in text
    assert f"{fields['session_max_age']:,} s" in text
