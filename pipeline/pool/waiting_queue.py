"""Fair priority queue of the requests for slots: urgent ones first, recipes and runs in round-robin."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Generic

from pipeline.pool.guaranteed_shares import GuaranteedShares
from pipeline.pool.requests import PRIORITIES, Priority, S, SlotRequest


class FairPriorityQueue(Generic[S]):
    """Fair queue of slot requests.

    Requests of one priority, fairness key and label form a group. A group is first come, first served; groups of one
    priority take turns.

    Attributes:
        shares: Guaranteed shares of priorities in the running jobs.
    """

    def __init__(self, shares: Mapping[Priority, float], clock: Callable[[], float]) -> None:
        """Create an empty queue. `shares` are guaranteed fractions of the running jobs; `clock` returns seconds."""
        self.shares = GuaranteedShares(shares, clock)
        self._groups: dict[Priority, OrderedDict[tuple[str, str | None], deque[SlotRequest[S]]]]
        self._groups = {priority: OrderedDict() for priority in PRIORITIES}
        self._waiting: dict[Priority, int] = dict.fromkeys(PRIORITIES, 0)
        self._running: dict[Priority, int] = dict.fromkeys(PRIORITIES, 0)

    def __len__(self) -> int:
        """Return the number of waiting requests."""
        return sum(self._waiting.values())

    def jobs(self) -> dict[Priority, int]:
        """Return the number of waiting and running jobs, by priority."""
        return {priority: self._waiting[priority] + self._running[priority] for priority in PRIORITIES}

    def count(self, label: str | None) -> int:
        """Return the number of waiting requests with that label."""
        groups = (group for groups in self._groups.values() for key, group in groups.items() if key[1] == label)
        return sum(map(len, groups))

    def add(self, request: SlotRequest[S]) -> None:
        """Append a request to its group."""
        self._settle()
        self._groups[request.priority].setdefault((request.fairness_key, request.label), deque()).append(request)
        self._waiting[request.priority] += 1

    def remove(self, request: SlotRequest[S]) -> bool:
        """Remove a request. Its group moves to the back, so that the groups of a priority rotate.

        Returns:
            False if it is not queued.
        """
        groups, key = self._groups[request.priority], (request.fairness_key, request.label)
        group = groups.get(key)
        if group is None or request not in group:
            return False
        self._settle()
        group.remove(request)
        self._waiting[request.priority] -= 1
        groups.move_to_end(key)
        if not group:
            del groups[key]
        return True

    def start(self, request: SlotRequest[S]) -> None:
        """Remove a request because its job starts."""
        self.remove(request)
        self._running[request.priority] += 1

    def end(self, request: SlotRequest[S]) -> None:
        """Record that a job which was started has ended."""
        self._settle()
        self._running[request.priority] -= 1

    def candidates(self) -> Iterator[SlotRequest[S]]:
        """Yield the first waiting request of every group, in the order in which they should get slots.

        Priorities below their guaranteed share come first, so that none starves.
        """
        self._settle()
        owed = [priority for priority in PRIORITIES if self.shares.is_owed(priority, self._running)]
        for priority in [*owed, *(each for each in PRIORITIES if each not in owed)]:
            for group in self._groups[priority].values():
                # A cancelled request stays in the queue until its task runs.
                first = next((request for request in group if not request.slot.done()), None)
                if first:
                    yield first

    def _settle(self) -> None:
        self.shares.settle(self._running, self._waiting)
