"""Rebalance slots among processes: each publishes its demand, divides the slots alike, and hands over its surplus."""

import time
from collections.abc import Mapping

from pipeline.errors import PipelineError
from pipeline.pool.division import Allotment, Shares, SlotDemand, by_priority, divide
from pipeline.pool.requests import PRIORITIES, Priority
from pipeline.pool.slot import SlotDocuments
from pipeline.telemetry import logger

log = logger(__name__)

# A process publishes its demand, and reads the demand of others, at most this often.
REBALANCE_INTERVAL_SECONDS = 5.0
# Duration of a turn. It is half of the default time that a job waits for a slot.
TURN_SECONDS = 30.0
# A process demands slots for the most jobs that it had in this time. So a gap between two jobs moves no slot.
PEAK_SECONDS = 15.0


class PeakJobs:
    """Highest number of jobs of each priority within the last `PEAK_SECONDS`."""

    def __init__(self) -> None:
        """Start without jobs."""
        self._peaks: dict[Priority, tuple[int, float]] = {}

    def observe(self, jobs: Mapping[Priority, int]) -> dict[Priority, int]:
        """Take the present numbers of jobs into account, and return the highest."""
        now = time.monotonic()
        for priority in PRIORITIES:
            count = jobs.get(priority, 0)
            peak, since = self._peaks.get(priority, (0, now))
            if count >= peak or now - since > PEAK_SECONDS:
                self._peaks[priority] = count, now
        return {priority: peak for priority, (peak, _) in self._peaks.items()}


class SlotRebalancer:
    """Rebalancer of this process's slots.

    It makes a storage call every few seconds, and none while this process holds no slot and needs none.

    Attributes:
        max_slots: Number of slots that this process may hold, by the demands last read.
        shares: Guaranteed shares of priorities in the jobs of this process, by the demands last read.
    """

    def __init__(self, documents: SlotDocuments, capacity: int, limit: int, shares: Shares) -> None:
        """Create a rebalancer.

        Args:
            documents: Store of the published demands.
            capacity: Slots of the pool.
            limit: Maximum slots of this process.
            shares: Guaranteed shares of priorities in the slots of the pool.
        """
        self._documents, self._capacity, self._limit, self._pool_shares = documents, capacity, limit, shares
        self._peaks = PeakJobs()
        self._others: dict[str, SlotDemand] = {}
        self._last_read = self._last_published = 0.0
        self._published: bool | None = None
        self.max_slots, self.shares = capacity, shares

    async def publish_demand(self, held: int, jobs: Mapping[Priority, int], *, more: bool) -> None:
        """Publish this process's demand; withdraw it when no other process competes for slots.

        Args:
            held: Slots that this process holds.
            jobs: Its jobs, by priority.
            more: Whether it has work for more slots.
        """
        now = time.monotonic()
        state = more if more or (held > 1 and self._others_need_more) else None
        recent = state is None or now - self._last_published < REBALANCE_INTERVAL_SECONDS
        if state == self._published and recent:
            return
        try:
            if state is None:
                await self._documents.withdraw_demand()
            else:
                await self._documents.publish_demand(self._demand(held, jobs, more=more).fields())
        except PipelineError as error:
            log.warning("cannot publish the demand for slots: %s", error, extra={"event": "slot.demand_unpublished"})
        else:
            self._published, self._last_published = state, now

    async def surplus(self, held: int, jobs: Mapping[Priority, int], *, more: bool) -> int:
        """Return how many of the `held` slots to hand over to processes that need them."""
        demand = self._demand(held, jobs, more=more)
        now = time.monotonic()
        idle = held > 0 and not any(demand.jobs.values())
        competes = more or held > 1
        if now - self._last_read < (REBALANCE_INTERVAL_SECONDS if competes else PEAK_SECONDS):
            return 0
        if not (competes or idle):
            self._take_others({})
            return 0
        self._last_read = now
        try:
            published = await self._documents.demands()
        except PipelineError as error:
            log.warning("cannot read the demand of others: %s", error, extra={"event": "slot.demand_unreadable"})
            return 0
        self._take_others({name: SlotDemand.parse(fields) for name, fields in published.items()})
        return max(0, held - self._divide(demand)) if self._others_need_more else 0

    def _take_others(self, others: dict[str, SlotDemand]) -> None:
        """Remember the demands of others. Without one for more slots, this process may hold all."""
        self._others = others
        if not self._others_need_more:
            self.max_slots, self.shares = self._capacity, self._pool_shares

    def _divide(self, own: SlotDemand) -> int:
        """Divide the slots of the pool. Set `max_slots` and `shares`, and return the number of slots to keep.

        When a turn begins, processes that get a slot look for it first; those whose turn has ended give it later. So
        it is not idle in between.
        """
        now = time.time()
        self.max_slots, allotted = self._allotment(own, now)
        slots = sum(allotted.values())
        present = [priority for priority in self._pool_shares if slots and own.jobs.get(priority)]
        self.shares = {**self._pool_shares, **{priority: allotted[priority] / slots for priority in present}}
        before, _ = self._allotment(own, now - 2 * REBALANCE_INTERVAL_SECONDS)
        return max(self.max_slots, before)

    def _allotment(self, own: SlotDemand, now: float) -> tuple[int, Allotment]:
        """Return the most slots that this process may hold at a time, and its part by priority.

        Slots that are in no part are free for each process.
        """
        demands = {**self._others, self._documents.process: own}
        parts = divide(self._capacity, self._pool_shares, demands, _turn(now))
        rest = self._capacity - sum(sum(part.values()) for part in parts.values())
        part = parts[self._documents.process]
        return sum(part.values()) + rest, part

    def _demand(self, held: int, jobs: Mapping[Priority, int], *, more: bool) -> SlotDemand:
        """Return the demand of this process: at most as many jobs as slots that it may hold, divided like the pool."""
        jobs = by_priority(self._limit, self._pool_shares, self._peaks.observe(jobs), _turn(time.time()))
        return SlotDemand(held, more, jobs)

    @property
    def _others_need_more(self) -> bool:
        return any(demand.more for demand in self._others.values())


def _turn(now: float) -> int:
    """Return the number of the turn at a time in seconds since 1970."""
    return int(now // TURN_SECONDS)
