"""The glossary defines each term once, and the log of decisions is numbered, dated and consistent."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import get_args

import pytest

from pipeline.pool.requests import Priority
from pipeline.recipes import model
from pipeline.runs.model import RunState
from pipeline.runs.selection import Reason
from pipeline.storage.entry import State

DOCS = Path(__file__).parents[1] / "docs"
GLOSSARY = (DOCS / "glossary.md").read_text()
DECISIONS = (DOCS / "decisions.md").read_text()
# Words of the field: an engineer who searches for one of them has to find the part that implements it.
FIELD = (
    "backpressure, cursor, dead letter, fencing token, heartbeat, microbatch, optimistic concurrency, orphan, "
    "priority queue, rebalancing, retention, retry policy, scheduler, stale-while-revalidate, tamper check"
)
STATUS = r"accepted(?:, changed by (?P<changed>\d+))?|replaced by (?P<replaced>\d+(?: and \d+)*)"


def terms() -> list[str]:
    """Return the terms of the alphabetical list, in the order of the page."""
    return re.findall(r"^- \*\*(.+?)\*\*(?: \*\(Azure\)\*)?: ", GLOSSARY, flags=re.MULTILINE)


def defined(heading: str) -> set[str]:
    """Return the words that the table below a heading defines."""
    (table,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", GLOSSARY, flags=re.MULTILINE | re.DOTALL)
    return set(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE))


def test_each_term_is_defined_once_in_alphabetical_order() -> None:
    keys = [term.casefold().replace("-", " ") for term in terms()]
    assert len(keys) > 100
    assert keys == sorted(set(keys))


def test_the_terms_of_the_field_are_defined() -> None:
    assert set(FIELD.split(", ")) <= {term.casefold() for term in terms()}


def test_each_definition_has_one_to_four_sentences() -> None:
    entries = re.findall(r"^- \*\*.+?\*\*.*?: (.+?)(?=^- |^## )", GLOSSARY, flags=re.MULTILINE | re.DOTALL)
    assert len(entries) == len(terms())
    for entry in entries:
        text = " ".join(entry.split())
        assert text.endswith("."), text
        assert len(re.findall(r"\.(?: |$)", text)) <= 4, text


@pytest.mark.parametrize(
    ("heading", "words"),
    [
        ("Job states", State),
        ("Run states", RunState),
        ("Reasons", Reason),
        ("Priorities", Priority),
    ],
)
def test_each_word_of_the_code_is_defined(heading: str, words: object) -> None:
    assert defined(heading) == set(get_args(words))


def test_each_isolation_level_is_defined() -> None:
    levels, _ = get_args(model.RecipeModel.model_fields["isolation"].annotation)
    assert defined("Isolation levels") == set(get_args(levels))


def test_each_stage_of_a_job_is_defined() -> None:
    code = "".join(path.read_text() for path in (DOCS.parent / "pipeline" / "jobs").glob("*.py"))
    assert defined("Stages") == set(re.findall(r'(?:stage|add_span)\("(\w+)"', code))


def test_decisions_are_numbered_dated_and_have_a_status() -> None:
    entries = re.findall(r"^## (\d+)\. (.+)\n\n(\d{4}-\d\d-\d\d) · (.+)\n\n(?=\w|`)", DECISIONS, flags=re.MULTILINE)
    assert len(entries) == DECISIONS.count("\n## ")
    assert [int(number) for number, *_ in entries] == list(range(1, len(entries) + 1))
    dates = [date.fromisoformat(day) for _, _, day, _ in entries]
    assert dates == sorted(dates)
    for number, title, _, status in entries:
        match = re.fullmatch(STATUS, status)
        assert match, f"{number}. {title}: {status}"
        later = [int(each) for each in re.findall(r"\d+", status)]
        assert all(int(number) < each <= len(entries) for each in later), f"{number}. {title}: {status}"
