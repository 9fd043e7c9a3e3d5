"""States of a slot: the legal transitions, and the effect of each state."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pipeline.pool.requests import SlotRequest
from pipeline.pool.slot import ACTIVE, FINAL, TRANSITIONS, Slot, SlotState
from pipeline.settings import Settings

S = SlotState
LEGAL = {
    S.OPENING: "ready recycling returning lost",
    S.READY: "draining handing_over recycling returning lost",
    S.DRAINING: "handing_over recycling returning lost",
    S.HANDING_OVER: "returning lost",
    S.RECYCLING: "opening returning cooling lost",
    S.RETURNING: "returning free lost",
    S.FREE: "",
    S.COOLING: "",
    S.LOST: "",
}
UNUSED = {"state": "free", "identifier": "secret", "generation": 3}


class Document:
    """Slot document in memory."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content

    async def write(self, content: dict[str, Any]) -> None:
        self.content = content

    async def renew(self) -> None: ...

    async def release(self) -> None: ...


def make_slot(content: dict[str, Any] | None = None, state: SlotState = S.READY) -> Slot:
    """Create a slot from a document, in any state."""
    client: Any = None
    settings = Settings(pool_endpoint="http://127.0.0.1:1")
    slot = Slot.from_document("slots/000.json", Document(content or UNUSED), settings, client, time.monotonic())
    slot.state = state
    return slot


@pytest.mark.parametrize("before", S)
def test_only_the_listed_transitions_are_legal(before: SlotState) -> None:
    for after in S:
        slot = make_slot(state=before)
        if after.name.lower() in LEGAL[before].split():
            slot.become(after)
            assert slot.state is after
        else:
            with pytest.raises(RuntimeError, match="illegal transition"):
                slot.become(after)
            assert slot.state is before


def test_every_state_has_a_row_and_can_be_reached() -> None:
    assert set(TRANSITIONS) == set(S)
    assert set().union(*TRANSITIONS.values()) == set(S)
    assert {state for state in S if not TRANSITIONS[state]} == FINAL


@pytest.mark.parametrize("state", S)
async def test_jobs_start_only_in_a_ready_slot(state: SlotState) -> None:
    slot = make_slot(state=state)
    assert slot.can_start(SlotRequest()) == (state is S.READY)
    assert slot.lease_is_valid == (state not in FINAL)
    assert slot.idle == (state in ACTIVE)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "new"),
        ({"state": "in use", "identifier": "secret"}, "taken over"),
        ({"state": "cooling", "identifier": "secret", "until": 1}, "new"),
        (UNUSED, ""),
    ],
    ids=["unused", "in use", "cooled down", "free"],
)
def test_only_a_returned_session_is_used_again(content: dict[str, Any], reason: str) -> None:
    slot = make_slot(content or {"state": ""})
    assert slot.in_doubt == reason
    assert slot.needs_recycling == bool(reason)


async def test_a_tainted_session_drains_and_keeps_the_first_reason() -> None:
    slot = make_slot()
    slot.taint("")
    assert slot.state is S.READY
    slot.taint("session_died")
    slot.taint("requested")
    assert (slot.state, slot.recycle_reason) == (S.DRAINING, "session_died")
    slot = make_slot(state=S.OPENING)
    slot.taint("requested")
    assert (slot.state, slot.needs_recycling) == (S.OPENING, True)


async def test_a_session_is_shared_by_one_label_only() -> None:
    slot = make_slot()
    slot.start_job(SlotRequest("tenant:a"))
    assert slot.can_start(SlotRequest("tenant:a"))
    assert not slot.can_start(SlotRequest("tenant:b"))
    assert not slot.can_start(SlotRequest(None))


async def test_a_job_without_a_label_has_the_session_alone() -> None:
    slot, single = make_slot(), SlotRequest[Slot](None)
    slot.start_job(single)
    assert (slot.state, slot.in_doubt) == (S.DRAINING, "single")
    assert not slot.can_start(SlotRequest())
    slot.end_job(single)
    assert slot.idle
    assert slot.needs_recycling


async def test_a_session_takes_its_concurrency_and_small_jobs() -> None:
    slot = make_slot()
    depth = slot.settings.session_concurrency
    for _ in range(depth):
        assert slot.can_start(SlotRequest())
        slot.start_job(SlotRequest())
    assert not slot.can_start(SlotRequest())
    slot.requests[:] = [SlotRequest(size=1, estimate=lambda: 0.01) for _ in range(depth)]
    assert slot.can_start(SlotRequest(size=1, estimate=lambda: 0.01))
    assert not slot.can_start(SlotRequest(size=1, estimate=lambda: 1e6))


async def test_a_session_is_used_up_by_jobs_or_age() -> None:
    slot = make_slot()
    slot.jobs_served = slot.settings.session_max_jobs
    assert slot.needs_recycling
    slot.label = "trusted"
    assert not slot.needs_recycling
    slot.lifetime.start(time.time() - slot.settings.session_max_age - 1)
    assert slot.needs_recycling


@pytest.mark.parametrize(
    ("state", "written"), [(None, "in use"), (S.FREE, "free"), (S.COOLING, "cooling"), (S.RETURNING, "in use")]
)
async def test_the_document_says_in_use_until_release(state: SlotState | None, written: str) -> None:
    slot = make_slot()
    await slot.write(state, until=1.5)
    assert (slot.document.content["state"], slot.document.content["until"]) == (written, 1.5)
    assert slot.document.content["identifier"] == "secret"
