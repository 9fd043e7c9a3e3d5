"""What Event Grid does now and then, on demand: events that come twice, late, out of order, or beside others."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from devstack.event_grid.events import Event
from devstack.event_grid.operations import CREATED


@dataclass(frozen=True)
class Oddities:
    """`copies`: how often each event comes. `shuffle`: seconds within which it does. `also`: other values of `data.api`
    for which there is an event of each write too. `lose`: the part of events that never come.
    """

    copies: int = 1
    shuffle: float = 0.0
    also: tuple[str, ...] = ()
    lose: float = 0.0
    dice: random.Random = field(default_factory=random.Random)

    def made_of(self, event: Event) -> Iterator[tuple[Event, float]]:
        """The events in place of one, each with its delay in seconds."""
        events = [event, *(event.again(api) for api in self.also if event.type == CREATED)]
        for one in events:
            for _ in range(self.copies):
                if self.dice.random() >= self.lose:
                    yield one, self.dice.uniform(0, self.shuffle)
