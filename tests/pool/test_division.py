"""Division of the pool's slots: priorities first, then processes."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest

from pipeline.pool.division import SlotDemand, by_priority, divide
from pipeline.pool.requests import PRIORITIES, Priority

SHARES: dict[Priority, float] = {"upload": 0.12, "run": 0.25}
ENDLESS = 1_000


def demand(held: int = 0, **jobs: int) -> SlotDemand:
    """Return the demand of a process with jobs by priority."""
    return SlotDemand(held, more=True, jobs={each: jobs.get(each, 0) for each in PRIORITIES})


def divided(capacity: int, demands: dict[str, SlotDemand], turn: int = 0) -> dict[str, int]:
    """Return the slots of each process."""
    return {name: sum(part.values()) for name, part in divide(capacity, SHARES, demands, turn).items()}


def all_jobs(interactive: int, upload: int, run: int) -> dict[Priority, int]:
    """Return numbers of jobs by priority."""
    return {"interactive": interactive, "upload": upload, "run": run}


AS_ON_AZURE = {
    "http": demand(interactive=ENDLESS),
    "blobs": demand(upload=ENDLESS),
    **{f"run-{number}": demand(run=ENDLESS) for number in range(3)},
}


def test_bulk_runs_in_processes_of_their_own_do_not_displace_requests() -> None:
    slots = divided(8, AS_ON_AZURE)
    assert (slots["http"], slots["blobs"]) == (5, 1)
    assert sum(slots[name] for name in slots if name.startswith("run")) == 2


def test_thirteen_instances_of_a_run_have_the_share_of_runs() -> None:
    demands = {**AS_ON_AZURE, **{f"run-{number}": demand(run=ENDLESS) for number in range(13)}}
    slots = divided(100, demands)
    assert (slots["http"], slots["blobs"], sum(slots.values())) == (63, 12, 100)
    assert {slots[name] for name in slots if name.startswith("run")} == {1, 2}


@pytest.mark.parametrize(
    ("jobs", "slots"),
    [
        (all_jobs(ENDLESS, ENDLESS, ENDLESS), all_jobs(5, 1, 2)),
        (all_jobs(0, 0, ENDLESS), all_jobs(0, 0, 8)),
        (all_jobs(0, ENDLESS, ENDLESS), all_jobs(0, 6, 2)),
        (all_jobs(ENDLESS, ENDLESS, 0), all_jobs(7, 1, 0)),
        (all_jobs(1, ENDLESS, ENDLESS), all_jobs(1, 5, 2)),
        (all_jobs(2, 1, ENDLESS), all_jobs(2, 1, 5)),
        (all_jobs(ENDLESS, ENDLESS, 1), all_jobs(6, 1, 1)),
        (all_jobs(1, 2, 3), all_jobs(1, 2, 3)),
    ],
)
def test_a_priority_without_enough_jobs_leaves_its_slots_to_the_others(
    jobs: dict[Priority, int], slots: dict[Priority, int]
) -> None:
    assert by_priority(8, SHARES, jobs, turn=3) == slots


@pytest.mark.parametrize(("capacity", "slots"), [(3, (1, 1, 1)), (5, (3, 1, 1)), (600, (378, 72, 150))])
def test_shares_are_whole_slots_and_at_least_one(capacity: int, slots: tuple[int, int, int]) -> None:
    jobs = all_jobs(ENDLESS, ENDLESS, ENDLESS)
    assert by_priority(capacity, SHARES, jobs, turn=1) == all_jobs(*slots)


@pytest.mark.parametrize(("capacity", "slots"), [(1, (2, 1, 1)), (2, (5, 1, 2))])
def test_a_tiny_pool_is_divided_by_time(capacity: int, slots: tuple[int, int, int]) -> None:
    total: Counter[Priority] = Counter()
    for turn in range(8, 12):
        parts = by_priority(capacity, SHARES, all_jobs(ENDLESS, ENDLESS, ENDLESS), turn)
        assert sum(parts.values()) == capacity
        total.update(parts)
    assert total == all_jobs(*slots)


def test_shares_above_one_leave_no_slot_twice() -> None:
    shares: dict[Priority, float] = {"upload": 0.5, "run": 1.0}
    assert by_priority(8, shares, all_jobs(9, 9, 9), turn=0) == all_jobs(0, 4, 4)


@pytest.mark.parametrize(("capacity", "turn"), [*product((1, 2, 3, 5, 8, 100), range(5))])
def test_no_slot_idles_and_none_is_given_twice(capacity: int, turn: int) -> None:
    for interactive, upload, run in product((0, 1, 4, ENDLESS), repeat=3):
        demands = {
            "http": demand(interactive=interactive),
            "all": demand(interactive=interactive, upload=upload, run=run),
            "blobs": demand(upload=upload),
            "run": demand(run=run),
        }
        parts = divide(capacity, SHARES, demands, turn)
        jobs = sum(sum(each.jobs.values()) for each in demands.values())
        assert sum(sum(part.values()) for part in parts.values()) == min(capacity, jobs)
        assert all(part[each] <= demands[name].jobs[each] for name, part in parts.items() for each in PRIORITIES)


def test_a_process_with_few_jobs_leaves_its_part_to_the_others() -> None:
    demands = {"a": demand(run=1), "b": demand(run=ENDLESS), "c": demand(run=4)}
    assert divided(9, demands) == {"a": 1, "b": 4, "c": 4}


@pytest.mark.parametrize("turn", range(4))
def test_the_odd_slot_stays_where_it_is(turn: int) -> None:
    demands = {"a": demand(2, run=ENDLESS), "b": demand(3, run=ENDLESS), "c": demand(2, run=ENDLESS)}
    assert divided(7, demands, turn) == {"a": 2, "b": 3, "c": 2}


@pytest.mark.parametrize(("capacity", "processes"), [(1, 3), (2, 4), (8, 3), (8, 5)])
def test_more_processes_than_slots_take_turns(capacity: int, processes: int) -> None:
    """Each process of a run gets a slot at some time, and about as often as the others."""
    demands = {"http": demand(interactive=ENDLESS)}
    demands |= {f"run-{number}": demand(run=ENDLESS) for number in range(processes)}
    count: Counter[str] = Counter()
    for turn in range(60):
        count.update(divided(capacity, demands, turn))
    runs = [count[name] for name in demands if name != "http"]
    assert min(runs) > 0
    assert max(runs) <= 2 * min(runs)


def test_a_published_demand_is_read_again() -> None:
    published = SlotDemand(3, more=True, jobs=all_jobs(0, 2, 30))
    assert published.fields() == {"held": 3, "more": 1, "interactive": 0, "upload": 2, "run": 30}
    assert SlotDemand.parse(published.fields()) == published


def test_a_process_of_the_version_before_has_the_part_that_it_had() -> None:
    """Its demand names no priorities. The slots are divided evenly between it and the requests."""
    old = SlotDemand.parse({"held": 4, "more": 1})
    assert divided(8, {"old": old, "http": demand(4, interactive=ENDLESS)}) == {"old": 4, "http": 4}
    assert divided(8, {"old": SlotDemand.parse({"held": 3, "more": 0}), "run": demand(run=ENDLESS)}) == {
        "old": 3,
        "run": 5,
    }
    assert SlotDemand.parse({}).jobs == {"interactive": 0}
