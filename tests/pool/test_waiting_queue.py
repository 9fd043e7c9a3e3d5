"""Fair priority queue: order of waiting requests."""

from __future__ import annotations

from pipeline.pool.requests import Priority, SlotRequest
from pipeline.pool.waiting_queue import FairPriorityQueue


def request(fairness_key: str = "a", priority: Priority = "upload", label: str | None = "shared") -> SlotRequest[None]:
    """Create a request for a slot."""
    return SlotRequest(label, priority, fairness_key)


def queue_of(*requests: SlotRequest[None], run_share: float = 0.25) -> FairPriorityQueue[None]:
    """Create a queue of requests."""
    queue = FairPriorityQueue[None](run_share)
    for each in requests:
        queue.add(each)
    return queue


def served(queue: FairPriorityQueue[None], slots: int) -> list[str]:
    """Return priority and fairness key of the requests that get the next slots, in order."""
    running: list[SlotRequest[None]] = []
    for _ in range(slots):
        first = next(queue.candidates(running), None)
        if first is None:
            break
        queue.remove(first)
        running.append(first)
    return [f"{each.priority}:{each.fairness_key}" for each in running]


async def test_recipes_take_turns_however_many_jobs_each_has() -> None:
    queue = queue_of(*(request("many") for _ in range(9)), request("few"), request("few"))
    assert served(queue, 5) == ["upload:many", "upload:few", "upload:many", "upload:few", "upload:many"]


async def test_a_group_is_first_come_first_served() -> None:
    requests = [request() for _ in range(3)]
    queue = queue_of(*requests)
    for each in requests:
        assert next(queue.candidates([])) is each
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
    assert [each.label for each in queue.candidates([])] == ["tenant:x", "tenant:y"]


async def test_a_request_can_be_removed_twice() -> None:
    one = request()
    queue = queue_of(one)
    queue.remove(one)
    queue.remove(one)
    assert (len(queue), list(queue.candidates([]))) == (0, [])


async def test_a_cancelled_request_does_not_block_its_group() -> None:
    first, second = request(), request()
    queue = queue_of(first, second)
    first.slot.cancel()
    assert list(queue.candidates([])) == [second]
    second.slot.cancel()
    assert list(queue.candidates([])) == []
