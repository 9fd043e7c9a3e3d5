"""Fair priority queue: order of waiting requests."""

from __future__ import annotations

from collections import Counter

import pytest

from pipeline.pool.requests import Priority, SlotRequest
from pipeline.pool.waiting_queue import FairPriorityQueue


def request(fairness_key: str = "a", priority: Priority = "upload", label: str | None = "shared") -> SlotRequest[None]:
    """Create a request for a slot."""
    return SlotRequest(label, priority, fairness_key)


class Clock:
    """Clock that a test sets."""

    def __init__(self) -> None:
        """Start at zero."""
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def queue_of(*requests: SlotRequest[None], run_share: float = 0.25) -> FairPriorityQueue[None]:
    """Create a queue of requests."""
    queue = FairPriorityQueue[None]({"upload": 0.12, "run": run_share}, Clock())
    for each in requests:
        queue.add(each)
    return queue


def served(queue: FairPriorityQueue[None], slots: int) -> list[str]:
    """Return priority and fairness key of the requests that get the next slots, in order."""
    running: list[SlotRequest[None]] = []
    for _ in range(slots):
        first = next(queue.candidates(), None)
        if first is None:
            break
        queue.start(first)
        running.append(first)
    return [f"{each.priority}:{each.fairness_key}" for each in running]


async def test_recipes_take_turns_however_many_jobs_each_has() -> None:
    queue = queue_of(*(request("many") for _ in range(9)), request("few"), request("few"))
    assert served(queue, 5) == ["upload:many", "upload:few", "upload:many", "upload:few", "upload:many"]


async def test_a_group_is_first_come_first_served() -> None:
    requests = [request() for _ in range(3)]
    queue = queue_of(*requests)
    for each in requests:
        assert next(queue.candidates()) is each
        queue.remove(each)
    assert len(queue) == 0


async def test_interactive_requests_go_first() -> None:
    queue = queue_of(request(priority="run"), request(priority="upload"), request("http", "interactive"))
    assert served(queue, 1) == ["interactive:http"]


async def test_a_run_gets_its_share_and_no_more() -> None:
    queue = queue_of(*(request("run", "run") for _ in range(40)), *(request("upload", "upload") for _ in range(40)))
    order = served(queue, 40)
    assert order.count("run:run") == 10
    assert order[:4].count("run:run") == 1, "from the beginning"


async def test_a_run_has_all_slots_when_nothing_else_waits() -> None:
    assert served(queue_of(*(request("run", "run") for _ in range(3))), 3) == ["run:run"] * 3


async def test_a_run_without_a_share_waits_for_uploads() -> None:
    queue = queue_of(request("run", "run"), request("upload"), run_share=0)
    assert served(queue, 2) == ["upload:upload", "run:run"]


async def test_runs_take_turns_too() -> None:
    queue = queue_of(*(request("one", "run") for _ in range(3)), request("two", "run"))
    assert served(queue, 4) == ["run:one", "run:two", "run:one", "run:one"]


async def test_a_blocked_label_does_not_block_other_labels() -> None:
    queue = queue_of(request("a", label="tenant:x"), request("a", label="tenant:y"))
    assert [each.label for each in queue.candidates()] == ["tenant:x", "tenant:y"]


async def test_a_request_can_be_removed_twice() -> None:
    one = request()
    queue = queue_of(one)
    assert [queue.remove(one), queue.remove(one)] == [True, False]
    assert (len(queue), list(queue.candidates())) == (0, [])


async def test_a_cancelled_request_does_not_block_its_group() -> None:
    first, second = request(), request()
    queue = queue_of(first, second)
    first.slot.cancel()
    assert list(queue.candidates()) == [second]
    second.slot.cancel()
    assert list(queue.candidates()) == []


def shares_of_time(slots: int, seconds: dict[Priority, float]) -> dict[Priority, float]:
    """Run endless jobs, `slots` at once, for `seconds` each, and return each priority's share of the time."""
    clock, total = Clock(), 60 + 400 / slots
    queue = FairPriorityQueue[None]({"upload": 0.12, "run": 0.25}, clock)
    for priority in seconds:
        for _ in range(slots + 1):
            queue.add(request(priority, priority))
    running: list[tuple[float, SlotRequest[None]]] = []
    used: Counter[Priority] = Counter()
    while clock.now < total:
        while len(running) < slots:
            job = next(queue.candidates())
            queue.start(job)
            queue.add(request(job.priority, job.priority))
            running.append((clock.now + seconds[job.priority], job))
            used[job.priority] += seconds[job.priority]
        end, job = min(running, key=lambda one: one[0])
        clock.now = end
        running.remove((end, job))
        queue.end(job)
    return {priority: used[priority] / sum(used.values()) for priority in seconds}


@pytest.mark.parametrize("slots", [1, 2, 5, 8, 16])
@pytest.mark.parametrize(
    "seconds",
    [
        {"interactive": 0.3, "upload": 0.3, "run": 0.3},
        {"interactive": 0.2, "upload": 0.5, "run": 7.0},
        {"interactive": 9.0, "upload": 0.5, "run": 0.2},
    ],
    ids=["equal", "long runs", "long requests"],
)
async def test_runs_and_uploads_keep_their_shares_beside_endless_requests(
    slots: int, seconds: dict[Priority, float]
) -> None:
    shares = shares_of_time(slots, seconds)
    assert shares["run"] == pytest.approx(0.25, abs=0.04)
    assert shares["upload"] == pytest.approx(0.12, abs=0.04)


@pytest.mark.parametrize("slots", [1, 3, 8])
async def test_uploads_have_the_rest_beside_a_run_without_requests(slots: int) -> None:
    assert shares_of_time(slots, {"upload": 0.3, "run": 0.3})["run"] == pytest.approx(0.25, abs=0.04)


async def test_slots_used_without_competition_are_no_debt() -> None:
    clock = Clock()
    queue = FairPriorityQueue[None]({"upload": 0.12, "run": 0.25}, clock)
    first, second = request("run", "run"), request("run", "run")
    queue.add(first)
    queue.add(second)
    queue.start(first)
    clock.now = 1_000.0
    queue.add(request("http", "interactive"))
    queue.end(first)
    assert next(queue.candidates()).priority == "interactive"
    queue.start(next(queue.candidates()))
    queue.add(request("http", "interactive"))
    clock.now += 1.0
    assert next(queue.candidates()) is second, "its share since the competition began"


async def test_jobs_are_counted_by_priority() -> None:
    upload = request()
    queue = queue_of(upload, request("run", "run"), request("run", "run"))
    queue.start(upload)
    assert (queue.jobs(), len(queue)) == ({"interactive": 0, "upload": 1, "run": 2}, 2)
    queue.end(upload)
    assert queue.jobs()["upload"] == 0
