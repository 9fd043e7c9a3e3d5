"""Lease keeper: acquire slots, renew their leases by heartbeat, rebalance them among processes, and release them."""

import random
import time
from collections.abc import Awaitable, Callable, Mapping

from pipeline import telemetry
from pipeline.concurrency import BackgroundTasks
from pipeline.errors import PipelineError
from pipeline.pool.client import PoolClient
from pipeline.pool.division import Shares
from pipeline.pool.rebalancing import SlotRebalancer
from pipeline.pool.requests import Priority
from pipeline.pool.slot import Slot, SlotDocuments, SlotState
from pipeline.settings import Settings
from pipeline.telemetry import logger

log = logger(__name__)

# Search for free slots at most this often.
SEARCH_INTERVAL_SECONDS = 1.0


class LeaseKeeper:
    """Keeper of the leases of this process's slots.

    Attributes:
        slots: Slots that this process holds.
        last_error: Error of the last search for slots; None when it succeeded.
    """

    def __init__(
        self,
        settings: Settings,
        documents: SlotDocuments,
        client: PoolClient,
        jobs: Callable[[], Mapping[Priority, int]],
        shares: Shares,
        holder: str,
    ) -> None:
        """Create a keeper without slots.

        Args:
            settings: Bounds on slots, and the duration of a lease.
            documents: Store of the slots' documents.
            client: Client of the session pool.
            jobs: Returns the number of jobs that wait or run in this process, by priority.
            shares: Guaranteed shares of priorities in the slots of the pool.
            holder: Name of this process in the documents.
        """
        self._settings, self._documents, self._client = settings, documents, client
        self._jobs, self._holder = jobs, holder
        self._limit = min(settings.max_slots_per_process, settings.pool_max_sessions)
        self._rebalancer = SlotRebalancer(documents, settings.pool_max_sessions, self._limit, shares)
        self._last_search = 0.0
        self.slots: list[Slot] = []
        self.last_error: PipelineError | None = None

    @property
    def shares(self) -> Shares:
        """Guaranteed shares of priorities in the jobs of this process."""
        return self._rebalancer.shares

    @property
    def _needs_more(self) -> bool:
        """Return whether there are more jobs than slots, within the limit of one process."""
        return len(self.slots) < min(sum(self._jobs().values()), self._limit)

    @property
    def _should_acquire(self) -> bool:
        """Return whether to acquire another slot without exceeding this process's fair share."""
        return self._needs_more and len(self.slots) < self._rebalancer.max_slots

    def search_is_due(self) -> bool:
        """Return whether to search for free slots now. A True counts as the start of a search."""
        now = time.monotonic()
        due = self._should_acquire and now - self._last_search >= SEARCH_INTERVAL_SECONDS
        if due:
            self._last_search = now
        return due

    async def acquire_more(self, prepare: Callable[[Slot], Awaitable[None]]) -> None:
        """Acquire free slots while jobs need them; `prepare` opens each one. Publish the demand that remains."""
        try:
            names = await self._documents.list_free(self._settings.pool_max_sessions)
            self.last_error = None
            names = sorted(set(names) - {slot.name for slot in self.slots})
            random.shuffle(names)
            for name in names:
                if not self._should_acquire:
                    return
                slot = await self.acquire(name)
                if slot:
                    await prepare(slot)
            await self._rebalancer.publish_demand(len(self.slots), self._jobs(), more=self._needs_more)
        except PipelineError as error:
            self.last_error = error
            log.warning("cannot lease a slot: %s", error, extra={"event": "slot.lease_failed"})

    async def acquire(self, name: str) -> Slot | None:
        """Lease a slot. Returns None when another process holds it, it cools down, or this process holds enough."""
        started = time.monotonic()
        document = await self._documents.acquire(name)
        if document is None:
            return None
        slot = Slot.from_document(name, document, self._settings, self._client, started)
        slot.holder = self._holder
        if slot.is_cooling_down or len(self.slots) >= self._limit:
            await document.release()
            return None
        self.slots.append(slot)
        telemetry.slots_held.add(1)
        log.info("leased slot %s, generation %d", slot.name, slot.generation, extra={"event": "slot.leased"})
        return slot

    def maintain(self, tasks: BackgroundTasks) -> None:
        """Start the heartbeats that are due, and the rebalancing."""
        for slot in self.slots:
            if not slot.renewing and time.monotonic() - slot.leased > self._settings.slot_lease_duration / 3:
                tasks.spawn(self.heartbeat(slot))
        tasks.spawn(self.rebalance())

    async def heartbeat(self, slot: Slot) -> None:
        """Renew a slot's lease. Drop the slot when the lease is lost; retry later after any other error."""
        started = time.monotonic()
        slot.renewing = True
        try:
            await slot.document.renew()
            slot.leased = started
        except PipelineError as error:
            log.warning(
                "cannot renew the lease of slot %s: %s", slot.name, error, extra={"event": "slot.renewal_failed"}
            )
            if error.kind == "lease_lost":
                self.drop(slot)
        finally:
            slot.renewing = False

    async def rebalance(self) -> None:
        """Hand over surplus slots, those with the fewest jobs first, to processes that need them."""
        staying = [slot for slot in self.slots if slot.state is not SlotState.HANDING_OVER]
        count = await self._rebalancer.surplus(len(staying), self._jobs(), more=self._needs_more)
        busy_or_idle = [slot for slot in staying if slot.state in (SlotState.READY, SlotState.DRAINING)]
        surplus = sorted(busy_or_idle, key=lambda slot: slot.jobs)[:count]
        for slot in surplus:
            slot.become(SlotState.HANDING_OVER)
            log.info("handing slot %s over to another process", slot.name, extra={"event": "slot.handed_over"})
        await self._rebalancer.publish_demand(len(staying) - len(surplus), self._jobs(), more=self._needs_more)

    async def withdraw_demand(self) -> None:
        """Withdraw this process's demand before it stops."""
        await self._rebalancer.publish_demand(0, {}, more=False)

    async def release(self, slot: Slot, state: SlotState = SlotState.LOST) -> None:
        """Release a slot's lease and drop the slot. If storage does not respond, the lease expires."""
        try:
            await slot.document.release()
        except PipelineError as error:
            log.warning("cannot release slot %s: %s", slot.name, error, extra={"event": "slot.release_failed"})
        self.drop(slot, state)
        log.info("released slot %s", slot.name, extra={"event": "slot.released"})

    def drop(self, slot: Slot, state: SlotState = SlotState.LOST) -> None:
        """Remove a slot from this process in a final state. Do nothing if it was removed before."""
        if slot in self.slots:
            self.slots.remove(slot)
            slot.become(state)
            telemetry.slots_held.add(-1)
