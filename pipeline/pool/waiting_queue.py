"""Who waits for a session, and who gets the next seat: fair across recipes and runs, urgent work first."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic

from pipeline.pool.requests import PRIORITIES, Priority, S, SlotRequest


class FairPriorityQueue(Generic[S]):
    """Those who wait. Within a group of one priority and label: first come, first served."""

    def __init__(self, run_share: float) -> None:
        self._run_share = run_share
        self._groups: dict[Priority, OrderedDict[tuple[str, str | None], deque[SlotRequest[S]]]]
        self._groups = {priority: OrderedDict() for priority in PRIORITIES}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, ask: SlotRequest[S]) -> None:
        """Get in line."""
        self._groups[ask.priority].setdefault((ask.fairness_key, ask.label), deque()).append(ask)
        self._count += 1

    def remove(self, ask: SlotRequest[S]) -> None:
        """Leave, seated or not. The group goes to the back of its priority, so that the others have their turn."""
        groups, key = self._groups[ask.priority], (ask.fairness_key, ask.label)
        waiting = groups.get(key)
        if waiting is None or ask not in waiting:
            return
        waiting.remove(ask)
        self._count -= 1
        groups.move_to_end(key)
        if not waiting:
            del groups[key]

    def heads(self, seated: list[SlotRequest[S]]) -> Iterator[SlotRequest[S]]:
        """The first of every group who still waits, in the order in which they are to be seated beside those who are.

        Jobs of runs go last, but for their share: neither fresh images nor a run wait for ever.
        """
        runs = sum(ask.priority == "run" for ask in seated)
        owed = runs < self._run_share * (len(seated) + 1)
        order = ("interactive", "run", "upload") if owed else PRIORITIES
        for priority in order:
            for waiting in self._groups[priority].values():
                # Who has been cancelled stands here until its task has had its turn.
                first = next((ask for ask in waiting if not ask.slot.done()), None)
                if first:
                    yield first
