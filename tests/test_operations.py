"""The page on operations knows every kind of failure, and its searches find lines that the pipeline writes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.api.problems import BY_KIND
from pipeline.engine.errors import KINDS
from pipeline.errors import PipelineError

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "operations.md").read_text()
SOURCES = [path.read_text() for path in (ROOT / "pipeline").rglob("*.py")]
# What only ever answers a request, or keeps a job waiting: no row of the ledger has it as its failure.
NO_FAILURES = {
    "pool_full", "superseded", "state_conflict", "unknown_job", "unknown_slot", "unknown_run", "unknown_plan",
    "run_done",
    "no_plan", "plan_incomplete", "plan_changed", "other_selection", "job_dismissed", "invalid_cursor", "bad_message",
    "source_missing", "slow",
}  # fmt: skip


def kinds() -> set[str]:
    """Every kind that an error of the pipeline can have."""

    def below(kind: type[PipelineError]) -> set[str]:
        """Those of a class and its subclasses. What `web` has of its own only ever answers a request."""
        own = set() if kind.__module__.startswith("pipeline.api.") else {kind.default_kind}
        return own.union(*map(below, kind.__subclasses__()))

    named = {name for text in SOURCES for name in re.findall(r'\bkind="([a-z_]+)"', text)}
    return (below(PipelineError) | named | set(KINDS)) - set(BY_KIND) - NO_FAILURES


def test_every_kind_of_failure_is_on_the_page() -> None:
    assert len(kinds()) > 40
    assert {kind for kind in kinds() if f"`{kind}`" not in PAGE} == set()


@pytest.mark.parametrize("words", re.findall(r'message has "([^"]+)"', PAGE))
def test_every_search_looks_for_words_that_are_logged(words: str) -> None:
    if words in ("MaxDequeueCount", "poison"):
        return  # the platform's own words
    logged = f'"event": "{words.removeprefix("event=")}"' if words.startswith("event=") else words
    assert any(logged in line for text in SOURCES for line in text.splitlines() if '"' in line)
