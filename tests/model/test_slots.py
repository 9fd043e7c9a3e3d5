"""All interleavings of processes that compete for a slot: a session has one holder at a time, and none is lost."""

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
    """Disable the logs of all these processes."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("bounds", "least"),
    [(Bounds(processes=2, crashes=1), 10_000), (Bounds(processes=2, crashes=1, faults=1), 30_000)],
    ids=["a crash", "a failed call"],
)
def test_a_slot_has_one_session_and_a_session_one_holder(bounds: Bounds, least: int) -> None:
    found = Search(bounds).run()
    assert found.states >= least, "the search has become smaller and may miss faults"
    assert found.takeovers > 0
    assert found.counted == 2, "the hours of consecutive sessions are counted"


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
    ids=["no lease check", "no recycling after a takeover", "hours counted again"],
)
def test_the_search_finds_a_broken_rule(name: str, broken: Any) -> None:
    with mock.patch.object(Slot, name, broken), pytest.raises(Violation):
        Search(Bounds(processes=2, crashes=1)).run()
