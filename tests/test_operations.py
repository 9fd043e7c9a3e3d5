"""The page on operations lists every kind of failure."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.api.problems import BY_KIND
from pipeline.engine.errors import KINDS
from pipeline.errors import PipelineError

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "operations.md").read_text()
SOURCES = [path.read_text() for path in (ROOT / "pipeline").rglob("*.py")]
# Kinds that occur only in a response, or while a job waits. No row of the ledger has them as its failure.
NO_FAILURES = {
    "pool_full", "superseded", "state_conflict", "unknown_job", "unknown_slot", "unknown_run", "unknown_plan",
    "run_done",
    "no_plan", "plan_incomplete", "plan_changed", "other_selection", "job_dismissed", "invalid_cursor", "bad_message",
    "source_missing", "slow",
}  # fmt: skip


def kinds() -> set[str]:
    """Return every kind of error that the ledger can record as a failure."""

    def below(kind: type[PipelineError]) -> set[str]:
        """Return the kinds of a class and its subclasses, except those of `api`, which occur only in responses."""
        own = set() if kind.__module__.startswith("pipeline.api.") else {kind.default_kind}
        return own.union(*map(below, kind.__subclasses__()))

    named = {name for text in SOURCES for name in re.findall(r'\bkind="([a-z_]+)"', text)}
    return (below(PipelineError) | named | set(KINDS)) - set(BY_KIND) - NO_FAILURES


def test_every_kind_of_failure_is_on_the_page() -> None:
    assert len(kinds()) > 40
    assert {kind for kind in kinds() if f"`{kind}`" not in PAGE} == set()
