"""Fault injection: duplicate, delay, reorder or lose events, or add events with another `data.api`."""

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from event_grid_emulator.events import BLOB_CREATED, Event


@dataclass(frozen=True)
class Faults:
    """The faults to inject.

    Attributes:
        copies: How many times each event is delivered.
        max_delay: Each copy is delayed by a random time up to this many seconds, which also changes the order.
        extra_apis: Values of `data.api`; each write gets one more event for each of them.
        loss_rate: The share of events that are lost, from 0 to 1.
        generator: The source of randomness.
    """

    copies: int = 1
    max_delay: float = 0.0
    extra_apis: tuple[str, ...] = ()
    loss_rate: float = 0.0
    generator: random.Random = field(default_factory=random.Random)

    def apply(self, event: Event) -> Iterator[tuple[Event, float]]:
        """Yield the events that replace `event`, each with its delay in seconds."""
        # Accounts with hierarchical namespace send several events per upload.
        apis = self.extra_apis if event.type == BLOB_CREATED else ()
        extra = [replace(event, id=str(uuid.uuid4()), data={**event.data, "api": api}) for api in apis]
        for each in (event, *extra):
            for _ in range(self.copies):
                if self.generator.random() >= self.loss_rate:
                    yield each, self.generator.uniform(0, self.max_delay)
