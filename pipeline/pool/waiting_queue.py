"""Fair priority queue of the requests for slots: urgent ones first, recipes and runs in round-robin."""

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic

from pipeline.pool.requests import PRIORITIES, Priority, S, SlotRequest


class FairPriorityQueue(Generic[S]):
    """Fair queue of slot requests.

    Requests of one priority, fairness key and label form a group. A group is first come, first served; groups of one
    priority take turns.
    """

    def __init__(self, run_share: float) -> None:
        """Create an empty queue. `run_share` is the share of running jobs (0 to 1) reserved for bulk runs."""
        self._run_share = run_share
        self._groups: dict[Priority, OrderedDict[tuple[str, str | None], deque[SlotRequest[S]]]]
        self._groups = {priority: OrderedDict() for priority in PRIORITIES}
        self._count = 0

    def __len__(self) -> int:
        """Return the number of waiting requests."""
        return self._count

    def add(self, request: SlotRequest[S]) -> None:
        """Append a request to its group."""
        self._groups[request.priority].setdefault((request.fairness_key, request.label), deque()).append(request)
        self._count += 1

    def remove(self, request: SlotRequest[S]) -> None:
        """Remove a request if it is queued. Its group moves to the back, so that the groups of a priority rotate."""
        groups, key = self._groups[request.priority], (request.fairness_key, request.label)
        group = groups.get(key)
        if group is None or request not in group:
            return
        group.remove(request)
        self._count -= 1
        groups.move_to_end(key)
        if not group:
            del groups[key]

    def candidates(self, running: list[SlotRequest[S]]) -> Iterator[SlotRequest[S]]:
        """Yield the first waiting request of every group, in the order in which they should get slots.

        Bulk runs go last, except while fewer than their share of the `running` jobs belong to runs. So neither uploads
        nor runs starve.
        """
        run_count = sum(request.priority == "run" for request in running)
        below_share = run_count < self._run_share * (len(running) + 1)
        order = ("interactive", "run", "upload") if below_share else PRIORITIES
        for priority in order:
            for group in self._groups[priority].values():
                # A cancelled request stays in the queue until its task runs.
                first = next((request for request in group if not request.slot.done()), None)
                if first:
                    yield first
