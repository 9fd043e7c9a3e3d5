"""The operations page documents every kind of failure and every timer, and its recovery times name tests."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.engine.errors import KINDS
from pipeline.errors import HTTP_BY_KIND, PipelineError

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "operations.md").read_text()
SOURCES = [path.read_text() for path in (ROOT / "pipeline").rglob("*.py")]
# Kinds of responses, and of jobs that wait: no failure has one of them. A failure may be of an unknown recipe.
NO_FAILURES = {
    "pool_full", "paused", "superseded", "state_conflict", "unknown_job", "unknown_slot", "unknown_run", "unknown_plan",
    "run_done", "recipes_differ",
    "no_plan", "plan_incomplete", "plan_changed", "other_selection", "job_dismissed", "invalid_cursor", "bad_message",
    "source_missing", "shards_changed", "reshard_begun", "not_paused", "jobs_running",
    "slow", "bad_request", "source_changed", "other_version",
}  # fmt: skip


def kinds() -> set[str]:
    """Return every kind that a failure can have."""

    def below(error: type[PipelineError]) -> set[str]:
        """Return the kinds of a class and of its subclasses, without those of the console."""
        own = set() if error.__module__.startswith("pipeline.console.") else {error.default_kind}
        return own.union(*map(below, error.__subclasses__()))

    named = {name for text in SOURCES for name in re.findall(r'\bkind="([a-z_]+)"', text)}
    return (below(PipelineError) | named | set(KINDS)) - (set(HTTP_BY_KIND) - {"unknown_recipe"}) - NO_FAILURES


def test_every_kind_of_failure_is_documented() -> None:
    assert len(kinds()) > 40
    assert {kind for kind in kinds() if f"`{kind}`" not in PAGE} == set()


def test_every_timer_is_documented() -> None:
    timers = re.findall(r"@app\.timer_trigger\(.*\)\nasync def (\w+)", (ROOT / "function_app.py").read_text())
    section = PAGE.partition("## Timers\n")[2].partition("\n## ")[0]
    assert len(timers) > 2
    assert sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == sorted(timers)


def test_recovery_times_name_tests_that_exist() -> None:
    section = PAGE.partition("## Recovery times\n")[2].partition("\n## ")[0]
    named = re.findall(r"`(\w+/test_\w+\.py)`", section)
    assert len(named) > 5
    assert [name for name in named if not (ROOT / "tests" / name).exists()] == []
