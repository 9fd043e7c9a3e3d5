"""Every interleaving of processes that compete for one slot: one user per session, and no forgotten session."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from pipeline.pool.slot import Slot
from tests.model.replay import Replayer
from tests.model.search import Violation
from tests.model.slots import Bounds, Search, holder, model_clock


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Turn logging off: the search runs thousands of processes."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.timeout(600)  # a minute on an idle machine
@pytest.mark.parametrize(
    ("bounds", "least"),
    [(Bounds(processes=2, crashes=1), 10_000), (Bounds(processes=2, crashes=1, faults=1), 30_000)],
    ids=["a death", "a failed call"],
)
def test_a_slot_has_one_session_with_one_user(bounds: Bounds, least: int) -> None:
    search = Search(bounds).run()
    assert search.states >= least, "the search has become smaller: it may miss faults"
    assert search.takeovers > 0
    assert search.counted == 2, "hours of successive sessions"


def test_a_replay_reaches_the_same_state() -> None:
    """A state that contains a real clock or a real token is never seen twice, which multiplies the search."""
    search = Search(Bounds(processes=2, crashes=0, seconds=10)).run()
    with model_clock(), Replayer() as replayer:
        for run in search.runs:
            again = replayer.run(run.name, holder, run.heard, run.began)
            assert again.print == run.outcome.print


def _without_doubt(*arguments: Any) -> Slot:
    slot = _from_document(*arguments)
    slot.recycle_reason = slot.recycle_reason if slot.recycle_reason == "new" else ""
    return slot


def _with_uncounted_hours(*arguments: Any) -> Slot:
    slot = _from_document(*arguments)
    slot.lifetime.counted = 0
    return slot


_from_document = Slot.from_document


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("lease_is_valid", property(lambda _: True)),
        ("from_document", _without_doubt),
        ("from_document", _with_uncounted_hours),
    ],
    ids=["no check of the lease", "no doubt after a takeover", "hours counted twice"],
)
def test_the_search_finds_broken_code(name: str, broken: Any) -> None:
    with mock.patch.object(Slot, name, broken), pytest.raises(Violation):
        Search(Bounds(processes=2, crashes=1)).run()
