"""Who gets the next seat."""

from __future__ import annotations

import asyncio

from pipeline.pool.requests import Priority, SlotRequest
from pipeline.pool.waiting_queue import FairPriorityQueue


def ask(group: str = "a", priority: Priority = "upload", label: str | None = "shared") -> SlotRequest:
    return SlotRequest(label, priority, group)


def order(line: FairPriorityQueue, seats: int, seated: list[SlotRequest] | None = None) -> list[str]:
    """The groups of those who get the next seats, one after the other."""
    seated = seated or []
    got = []
    for _ in range(seats):
        first = next(line.candidates(seated), None)
        if first is None:
            break
        line.remove(first)
        seated.append(first)
        got.append(f"{first.priority}:{first.fairness_key}")
    return got


def filled(*asks: SlotRequest, run_share: float = 0.25) -> FairPriorityQueue:
    line = FairPriorityQueue(run_share)
    for each in asks:
        line.add(each)
    return line


async def test_recipes_take_turns_however_many_jobs_each_has() -> None:
    line = filled(*(ask("many") for _ in range(9)), ask("few"), ask("few"))
    assert order(line, 5) == ["upload:many", "upload:few", "upload:many", "upload:few", "upload:many"]


async def test_within_a_group_it_is_first_come_first_served() -> None:
    asks = [ask() for _ in range(3)]
    line = filled(*asks)
    for each in asks:
        assert next(line.candidates([])) is each
        line.remove(each)
    assert len(line) == 0


async def test_what_somebody_waits_for_goes_first() -> None:
    line = filled(ask(priority="run"), ask(priority="upload"), ask("asked", "interactive"))
    assert order(line, 1) == ["interactive:asked"]


async def test_a_run_gets_its_share_beside_fresh_drops_and_no_more() -> None:
    line = filled(*(ask("run", "run") for _ in range(40)), *(ask("upload", "upload") for _ in range(40)))
    got = order(line, 40)
    assert got.count("run:run") == 10
    assert got[:4].count("run:run") == 1, "from the beginning"


async def test_a_run_has_all_seats_when_nothing_else_waits_and_none_without_a_share() -> None:
    assert order(filled(*(ask("run", "run") for _ in range(3))), 3) == ["run:run"] * 3
    line = filled(ask("run", "run"), ask("upload"), run_share=0)
    assert order(line, 2) == ["upload:upload", "run:run"]


async def test_runs_take_turns_too() -> None:
    line = filled(*(ask("one", "run") for _ in range(3)), ask("two", "run"))
    assert order(line, 4) == ["run:one", "run:two", "run:one", "run:one"]


async def test_who_cannot_be_seated_does_not_hold_up_those_behind_with_another_label() -> None:
    line = filled(ask("a", label="tenant:x"), ask("a", label="tenant:y"))
    assert [each.label for each in line.candidates([])] == ["tenant:x", "tenant:y"]


async def test_leaving_twice_or_unseated_is_fine() -> None:
    one = ask()
    line = filled(one)
    line.remove(one)
    line.remove(one)
    assert (len(line), list(line.candidates([]))) == (0, [])
    assert isinstance(one.slot, asyncio.Future)


async def test_who_gave_up_and_has_not_left_yet_does_not_hold_up_the_group() -> None:
    first, second = ask(), ask()
    line = filled(first, second)
    first.slot.cancel()
    assert list(line.candidates([])) == [second]
    second.slot.cancel()
    assert list(line.candidates([])) == []
