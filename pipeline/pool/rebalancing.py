"""Rebalance slots among processes by max-min fair shares: each publishes its demand and hands over its surplus."""

import time
from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

from pipeline.errors import PipelineError
from pipeline.pool.slot import SlotDocuments
from pipeline.telemetry import logger

log = logger(__name__)

# A process publishes its demand, and reads the demand of others, at most this often.
REBALANCE_INTERVAL_SECONDS = 5.0


class SlotDemand(NamedTuple):
    """Number of slots that a process holds, and whether it has work for more."""

    held: int
    more: bool


def fair_share(capacity: int, demands: Sequence[SlotDemand]) -> int:
    """Return the largest number of slots that one process should hold.

    A process with enough slots keeps them, up to the fair share. The others divide the rest evenly.

    Args:
        capacity: Slots of the pool.
        demands: Demands of all processes, the calling one included.
    """
    left, sharers = capacity, len(demands)
    for demand in sorted(demands, key=lambda demand: demand.held):
        if not demand.more and demand.held * sharers <= left:
            left, sharers = left - demand.held, sharers - 1
    return max(1, ceil(left / sharers)) if sharers else capacity


class SlotRebalancer:
    """Rebalancer of this process's slots.

    It makes a storage call every few seconds, and none while this process is alone and idle.

    Attributes:
        max_slots: Number of slots that this process may hold, by the demands last read.
    """

    def __init__(self, documents: SlotDocuments, capacity: int) -> None:
        """Create a rebalancer for a pool of `capacity` slots."""
        self._documents, self._capacity = documents, capacity
        self._others: list[SlotDemand] = []
        self._last_read = self._last_published = 0.0
        self._published: bool | None = None
        self.max_slots = capacity

    async def publish_demand(self, held: int, *, more: bool) -> None:
        """Publish this process's demand; withdraw it when no other process competes for slots.

        Args:
            held: Slots that this process holds.
            more: Whether it has work for more.
        """
        now = time.monotonic()
        demand = more if more or (held > 1 and self._others_need_more) else None
        recent = demand is None or now - self._last_published < REBALANCE_INTERVAL_SECONDS
        if demand == self._published and recent:
            return
        try:
            if demand is None:
                await self._documents.withdraw_demand()
            else:
                await self._documents.publish_demand(held, more=demand)
        except PipelineError as error:
            log.warning("cannot publish the demand for slots: %s", error, extra={"event": "slot.demand_unpublished"})
        else:
            self._published, self._last_published = demand, now

    async def surplus(self, held: int, *, more: bool) -> int:
        """Return how many of the `held` slots to hand over to processes that need them."""
        now = time.monotonic()
        if now - self._last_read < REBALANCE_INTERVAL_SECONDS or not (more or held > 1):
            return 0
        self._last_read = now
        try:
            self._others = [SlotDemand(*demand) for demand in await self._documents.demands()]
        except PipelineError as error:
            log.warning("cannot read the demand of others: %s", error, extra={"event": "slot.demand_unreadable"})
            return 0
        self.max_slots = self._target(held, more=more) if self._others_need_more else self._capacity
        return max(0, held - self.max_slots)

    def _target(self, held: int, *, more: bool) -> int:
        """Return how many slots to hold: the fair share, or one less if another needy process holds two fewer."""
        share = fair_share(self._capacity, [SlotDemand(held, more), *self._others])
        fewest = min(demand.held for demand in self._others if demand.more)
        return min(share, held - 1) if held >= fewest + 2 else share

    @property
    def _others_need_more(self) -> bool:
        return any(demand.more for demand in self._others)
