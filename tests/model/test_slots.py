"""Every interleaving of the processes that want one slot: a session is one process's at a time, none is forgotten."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from pipeline.pool.slot import Slot
from tests.model.search import Violation
from tests.model.slots import Bounds, Search


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Nobody reads the logs of so many processes."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("bounds", "least"),
    [(Bounds(processes=2, crashes=1), 10_000), (Bounds(processes=2, crashes=1, faults=1), 30_000)],
    ids=["a death", "a call that goes wrong"],
)
def test_a_slot_has_one_session_and_a_session_one_holder(bounds: Bounds, least: int) -> None:
    found = Search(bounds).run()
    assert found.states >= least, "the search has become smaller: it may not see what it is for"
    assert found.takeovers > 0
    assert found.counted == 2, "hours of sessions that were there one after another"


def _trusting(*arguments: Any) -> Slot:
    slot = _found(*arguments)
    slot.recycle_reason = slot.recycle_reason if slot.recycle_reason == "new" else ""
    return slot


def _forgetful(*arguments: Any) -> Slot:
    slot = _found(*arguments)
    slot.lifetime.counted = 0
    return slot


_found = Slot.from_document


@pytest.mark.parametrize(
    ("name", "broken"),
    [("lease_is_valid", property(lambda _: True)), ("from_document", _trusting), ("from_document", _forgetful)],
    ids=["no look at the lease", "no doubt after a takeover", "hours that are counted anew"],
)
def test_the_search_finds_a_broken_rule(name: str, broken: Any) -> None:
    with mock.patch.object(Slot, name, broken), pytest.raises(Violation):
        Search(Bounds(processes=2, crashes=1)).run()
