"""Who waits for a session, and who gets the next seat: fair across recipes and runs, urgent work first."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pipeline.pool.batching import Estimate, nobody_knows

if TYPE_CHECKING:
    from pipeline.pool.slot import Slot

Priority = Literal["interactive", "drop", "run"]
ORDER: tuple[Priority, ...] = ("interactive", "drop", "run")


@dataclass(frozen=True)
class Doing:
    """What a job is, for those who look at the pool: a recipe, and the source's container and name."""

    recipe: str
    container: str
    name: str


@dataclass(eq=False)
class Ask:
    """A job that asks for a seat.

    `label` says with whom it may share a session (None: nobody), `group` among whom seats are shared out evenly (a
    recipe, a run). `size` is the source's in bytes, `since` when it got its seat.
    """

    label: str | None = "shared"
    priority: Priority = "drop"
    group: str = ""
    size: int = 0
    estimate: Estimate = nobody_knows
    doing: Doing | None = None
    since: float = 0.0
    seat: asyncio.Future[Slot] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Line:
    """Those who wait. Within a group of one priority and label: first come, first served."""

    def __init__(self, run_share: float) -> None:
        self._run_share = run_share
        self._groups: dict[Priority, OrderedDict[tuple[str, str | None], deque[Ask]]]
        self._groups = {priority: OrderedDict() for priority in ORDER}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, ask: Ask) -> None:
        """Get in line."""
        self._groups[ask.priority].setdefault((ask.group, ask.label), deque()).append(ask)
        self._count += 1

    def remove(self, ask: Ask) -> None:
        """Leave, seated or not. The group goes to the back of its priority, so that the others have their turn."""
        groups, key = self._groups[ask.priority], (ask.group, ask.label)
        waiting = groups.get(key)
        if waiting is None or ask not in waiting:
            return
        waiting.remove(ask)
        self._count -= 1
        groups.move_to_end(key)
        if not waiting:
            del groups[key]

    def heads(self, seated: list[Ask]) -> Iterator[Ask]:
        """The first of every group who still waits, in the order in which they are to be seated beside those who are.

        Jobs of runs go last, but for their share: neither fresh images nor a run wait for ever.
        """
        runs = sum(ask.priority == "run" for ask in seated)
        owed = runs < self._run_share * (len(seated) + 1)
        order = ("interactive", "run", "drop") if owed else ORDER
        for priority in order:
            for waiting in self._groups[priority].values():
                # Who has been cancelled stands here until its task has had its turn.
                first = next((ask for ask in waiting if not ask.seat.done()), None)
                if first:
                    yield first
