"""Every blob name has a key in the ledger, and a job id parses to its key."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import RecipeError
from pipeline.storage.keys import MAX_KEY_UNITS, JobKey, row_key

FORBIDDEN = re.compile(r"[/\\#?\x00-\x1f\x7f-\x9f]")
LONG = "web." + "YWFh" * 400
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=1024)


@given(names)
def test_a_key_is_valid_for_tables(name: str) -> None:
    key = row_key("input", name)
    assert not FORBIDDEN.search(key)
    assert len(key.encode("utf-16-le")) <= 2 * (MAX_KEY_UNITS + 1)


@given(names, names)
def test_two_names_never_share_a_key(one: str, other: str) -> None:
    assert (row_key("input", one) == row_key("input", other)) == (one == other)


def test_long_names_with_different_ends_have_different_keys() -> None:
    assert row_key("input", "ü" * 1000 + "a") != row_key("input", "ü" * 1000 + "b")


@given(names, names)
def test_the_key_of_a_folder_is_a_prefix_of_its_keys(folder: str, name: str) -> None:
    short, rest = folder[:20], name[:20]
    assert row_key("input", f"{short}/{rest}").startswith(row_key("input", f"{short}/"))


@given(names)
def test_a_job_id_is_safe_in_urls_and_parses_to_its_key(name: str) -> None:
    key = JobKey.of("web", "input", name)
    assert JobKey.parse(key.id) == key
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", key.id)


@pytest.mark.parametrize(
    "text", ["", "web", "web.", ".aaaa", "web.%2e%2e", "web.====", "web.\xff", "w?b.YWFh", "web.YS9i", "web.AAAA", LONG]
)
def test_an_invalid_job_id_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="not a job id"):
        JobKey.parse(text)
