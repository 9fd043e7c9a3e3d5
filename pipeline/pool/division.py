"""Division of the pool's slots: by priority first, then between the processes that have jobs of that priority.

Each process divides the slots by the demands that all processes publish, and comes to the same result as the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from pipeline.pool.requests import PRIORITIES, Priority

Shares = Mapping[Priority, float]
"""Guaranteed shares of priorities, as fractions."""
Allotment = Mapping[Priority, int]
"""Slots of one process, by the priority that they are for."""

# A pool that is too small for one slot per priority divides its slots by time: quarters of a slot, in four turns.
QUARTERS = 4


@dataclass(frozen=True)
class SlotDemand:
    """Demand of a process for slots.

    Attributes:
        held: Number of slots that it holds.
        more: Whether it has work for more.
        jobs: Number of its jobs, by priority. A job needs at most one slot.
    """

    held: int
    more: bool
    jobs: Mapping[Priority, int]

    @classmethod
    def parse(cls, fields: Mapping[str, int]) -> Self:
        """Parse a published demand.

        A process of version 0.9 publishes no jobs. It may have any jobs, so it counts like a process with
        requests: the division is as good as it was, and requests do not wait behind its jobs or the others'.
        """
        held, more = fields.get("held", 0), bool(fields.get("more", 0))
        jobs: dict[Priority, int] = {each: fields[each] for each in PRIORITIES if each in fields}
        return cls(held, more, jobs or {"interactive": MANY if more else held})

    def fields(self) -> dict[str, int]:
        """Return the fields to publish."""
        return {"held": self.held, "more": int(self.more), **{str(each): count for each, count in self.jobs.items()}}


# More jobs than a pool has slots.
MANY = 1_000


def divide(capacity: int, shares: Shares, demands: Mapping[str, SlotDemand], turn: int) -> dict[str, Allotment]:
    """Divide the slots of a pool. No process gets more than it has jobs, so slots may remain.

    Args:
        capacity: Slots of the pool.
        shares: Guaranteed shares of priorities.
        demands: Demands of all processes, by the name of the process.
        turn: Number of the turn. Processes and priorities with too few slots for all get them in turns.
    """
    names = sorted(demands)
    jobs = {priority: sum(each.jobs.get(priority, 0) for each in demands.values()) for priority in PRIORITIES}
    slots = by_priority(capacity, shares, jobs, turn)
    # A priority that has slots in some turns only would otherwise give them to the same processes each time.
    shift = turn if capacity >= len(PRIORITIES) else turn + turn // QUARTERS
    parts = {each: _between(slots[each], each, [(name, demands[name]) for name in names], shift) for each in PRIORITIES}
    return {name: {each: parts[each].get(name, 0) for each in PRIORITIES} for name in names}


def by_priority(capacity: int, shares: Shares, jobs: Mapping[Priority, int], turn: int) -> dict[Priority, int]:
    """Divide slots among the priorities: first their guaranteed shares, then the rest in the order of the priorities.

    Guaranteed shares are whole slots, at least one. A pool with fewer slots than priorities is divided in quarters of
    a slot: four turns together give each priority its share.

    Args:
        capacity: Slots to divide.
        shares: Guaranteed shares.
        jobs: Jobs of each priority. A priority without jobs gives its share to the others.
        turn: Number of the turn.
    """
    unit = QUARTERS if capacity >= len(PRIORITIES) else 1
    left = QUARTERS * capacity
    quarters = dict.fromkeys(PRIORITIES, 0)
    for priority in PRIORITIES:
        if share := shares.get(priority, 0.0):
            wanted = unit * max(1, round(QUARTERS * share * capacity / unit))
            quarters[priority] = min(wanted, QUARTERS * jobs[priority], left)
            left -= quarters[priority]
    for priority in PRIORITIES:
        extra = min(QUARTERS * jobs[priority] - quarters[priority], left)
        quarters[priority] += extra
        left -= extra
    return _whole(quarters, turn)


def _whole(quarters: Mapping[Priority, int], turn: int) -> dict[Priority, int]:
    """Round to whole slots such that the sum stays, and that each is exact on average over four turns."""
    whole: dict[Priority, int] = {}
    total, offset = 0, turn % QUARTERS
    for priority in reversed(PRIORITIES):
        before, total = total, total + quarters[priority]
        whole[priority] = (total + offset) // QUARTERS - (before + offset) // QUARTERS
    return {priority: whole[priority] for priority in PRIORITIES}


def _between(slots: int, priority: Priority, demands: list[tuple[str, SlotDemand]], turn: int) -> dict[str, int]:
    """Divide the slots of a priority evenly between processes. None gets more than it has jobs.

    Slots that do not divide evenly stay where they are: a process that holds more gets one more. If there are fewer
    slots than processes, the processes take turns.
    """
    needy = [(name, demand) for name, demand in demands if demand.jobs.get(priority, 0)]
    if slots < len(needy):
        first = turn * slots
        return {needy[(first + number) % len(needy)][0]: 1 for number in range(slots)}
    parts: dict[str, int] = {}
    needy.sort(key=lambda one: (one[1].jobs[priority], -one[1].held, one[0]))
    while needy:
        name, demand = needy[0]
        if demand.jobs[priority] * len(needy) > slots:
            break
        parts[name] = demand.jobs[priority]
        slots -= parts[name]
        needy.pop(0)
    needy.sort(key=lambda one: (-one[1].held, one[0]))
    for number, (name, _) in enumerate(needy):
        parts[name] = slots // len(needy) + (number < slots % len(needy))
    return parts
