"""Slot scheduler: assign waiting jobs to the sessions of the slots that this process leases.

Leased documents divide the pool's capacity into slots, which all processes share. A document names the identifier of
its session before the session is first used, and says `in use` while a process holds the slot. So a slot names every
session that exists, there are never more sessions than slots, and a process that takes over a slot from a dead one
finds `in use` and starts with a new session.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from copy import copy
from typing import Any

from pipeline import telemetry
from pipeline.concurrency import BackgroundTasks
from pipeline.errors import PipelineError, PoolFull, PoolUnavailable, SessionLost, SessionReplyError
from pipeline.pool.batching import DurationEstimator, Estimate, no_estimate
from pipeline.pool.client import PoolClient
from pipeline.pool.division import Shares
from pipeline.pool.hours import HourAccount, UnlimitedHours
from pipeline.pool.lease_keeper import LeaseKeeper
from pipeline.pool.recycler import SlotRecycler
from pipeline.pool.requests import JobLabel, Priority, SlotRequest
from pipeline.pool.session import BUSY, Session
from pipeline.pool.slot import ACTIVE, Slot, SlotDocuments, SlotState
from pipeline.pool.status import SlotStatusPublisher, StatusTable, slot_status
from pipeline.pool.waiting_queue import FairPriorityQueue
from pipeline.settings import Settings

# Seconds between two rounds of maintenance.
MAINTENANCE_INTERVAL_SECONDS = 1.0
# Jobs of runs leave a shared session alone that has been idle for less than this.
KEPT_IDLE_SECONDS = 10.0


class SlotScheduler:
    """Scheduler of this process's share of the pool.

    Attributes:
        durations: Moving averages of job durations, by recipe and source size.
        leases: Keeper of the leases; `leases.slots` are the slots that this process holds.
        recycler: Recycler of these slots.
    """

    def __init__(
        self,
        settings: Settings,
        documents: SlotDocuments,
        client: PoolClient,
        board: StatusTable | None = None,
        hours: HourAccount | None = None,
    ) -> None:
        """Create a scheduler without slots.

        Without `board` it publishes no status, and without `hours` it reserves none.
        """
        self._settings = settings
        self._hours = hours or UnlimitedHours()
        self._status_publisher = SlotStatusPublisher(board) if board else None
        shares: Shares = {"upload": settings.upload_share, "run": settings.run_share}
        self._queue: FairPriorityQueue[Slot] = FairPriorityQueue(shares, time.monotonic)
        self._maintenance: asyncio.Task[None] | None = None
        self._tasks = BackgroundTasks()
        holder = self._status_publisher.holder if self._status_publisher else ""
        self.durations = DurationEstimator()
        self.leases = LeaseKeeper(settings, documents, client, self._queue.jobs, shares, holder)
        self.recycler = SlotRecycler(settings, self.leases, self._tasks, self._dispatch, self._hours)

    @asynccontextmanager
    async def acquire_slot(
        self,
        label: str | None = "shared",
        *,
        priority: Priority = "upload",
        fairness_key: str = "",
        size: int = 0,
        estimate: Estimate = no_estimate,
        job_label: JobLabel | None = None,
        packed: int = 1,
    ) -> AsyncIterator[Session]:
        """Wait for a slot and yield its session for one job. See `SlotRequest` for the arguments.

        An error that leaves the session in doubt makes this job the last one in it.

        Raises:
            PoolFull: No slot became free within the acquire timeout.
            PipelineError: This process holds no slot, because it cannot lease any; or no session-hour may start.
        """

        def new_request() -> SlotRequest[Slot]:
            return SlotRequest(label, priority, fairness_key, size, estimate, job_label, packed)

        slot, request = await self._acquire_paid(new_request)
        try:
            yield slot.session
        except (SessionLost, SessionReplyError, PoolUnavailable, asyncio.CancelledError) as error:
            if not isinstance(error, PoolUnavailable) or error.bounded:
                kind = getattr(error, "kind", "cancelled")
                slot.taint(kind if kind != BUSY else "")
            raise
        finally:
            self._release(slot, request)

    @property
    def has_session(self) -> bool:
        """True if this process has a session whose hour has been reserved."""
        return any(slot.reserved.count for slot in self.leases.slots)

    def status_rows(self) -> dict[str, dict[str, Any]]:
        """Return the status rows of the slots that this process holds, by slot name."""
        return {slot.name: slot_status(slot) for slot in self.leases.slots}

    def recycle(self, name: str) -> bool:
        """Recycle a slot's session once its jobs have ended. Returns False when this process does not hold the slot."""
        held = next((slot for slot in self.leases.slots if slot.name == name), None)
        if held:
            held.taint("requested")
        return held is not None

    async def close(self) -> None:
        """Stop maintenance and return all slots."""
        self._maintenance = None
        await self._tasks.cancel()
        returns = [self.recycler.start(slot, SlotState.RETURNING) for slot in self.leases.slots]
        await asyncio.gather(self.leases.withdraw_demand(), *returns, return_exceptions=True)

    async def _acquire_paid(self, new_request: Callable[[], SlotRequest[Slot]]) -> tuple[Slot, SlotRequest[Slot]]:
        """Wait for a slot, and reserve the hour in which the job starts."""
        while True:
            request = new_request()
            slot = await self._acquire(request)
            try:
                # A session that has expired starts again, with the files of its jobs: it is no further one.
                others = 0 if slot.jobs_served else self._open_sessions(request.label)
                if await slot.pay(self._hours, request, others):
                    return slot, request
            except BaseException:
                self._release(slot, request)
                raise
            self._release(slot, request)

    def _open_sessions(self, label: str | None, *, opening: bool = False) -> int:
        """Return the number of sessions with that label that accept jobs and have an hour, or, if wanted, await it."""
        of_label = (slot for slot in self.leases.slots if slot.label == label and slot.accepts_jobs)
        return sum(slot.reserved.count > 0 or (opening and slot.jobs > 0) for slot in of_label)

    def _may_open(self, request: SlotRequest[Slot]) -> bool:
        """Return whether the job may open another session: for packed jobs, if the open ones have enough of them."""
        sessions = self._open_sessions(request.label, opening=True)
        if sessions and request.packed > 1:
            running = sum(each.label == request.label for slot in self.leases.slots for each in slot.requests)
            if running + self._queue.count(request.label) <= sessions * request.packed:
                return False
        return self._hours.may_open(request.run, request.label or "single", sessions)

    async def _acquire(self, request: SlotRequest[Slot]) -> Slot:
        if self._maintenance is None:
            self._maintenance = self._tasks.spawn(self._maintain())
        started = time.perf_counter()
        self._queue.add(request)
        self._dispatch()
        self._request_more_slots()
        try:
            async with asyncio.timeout(self._settings.slot_acquire_timeout):
                slot = await request.slot
        except BaseException as error:
            self._queue.remove(request)
            if request.slot.done() and not request.slot.cancelled():
                self._release(request.slot.result(), request)
            else:
                self._dispatch()
            if isinstance(error, TimeoutError):
                raise self._acquire_error() from None
            raise
        telemetry.slot_wait_seconds.record(time.perf_counter() - started, {"priority": request.priority})
        return slot

    def _acquire_error(self) -> PipelineError:
        """Return the reason why no slot became free. PoolFull would have the job wait in vain if none can be leased."""
        error = self.leases.last_error
        if error and not self.leases.slots:
            return copy(error)
        return PoolFull(
            f"no session became free within {self._settings.slot_acquire_timeout:g} s: running jobs or other processes "
            f"hold all {self._settings.pool_max_sessions} slots"
        )

    def _release(self, slot: Slot, request: SlotRequest[Slot]) -> None:
        self._queue.end(request)
        slot.end_job(request)
        if slot.jobs == 0:
            telemetry.slots_used.add(-1)
            self.recycler.maintain_idle(slot)
        self._dispatch()

    def _dispatch(self) -> None:
        """Assign slots to waiting jobs. Recycle an idle session of another label when jobs still wait."""
        while request := self._dispatch_next():
            self._queue.start(request)
        in_maintenance = sum(slot.state not in ACTIVE for slot in self.leases.slots)
        opening = [each for each in self._queue.candidates() if self._may_open(each)]
        if opening and in_maintenance < len(self._queue):
            self._evict_idle_session(urgent=any(not each.run for each in opening))

    def _dispatch_next(self) -> SlotRequest[Slot] | None:
        """Start the next waiting job for which there is a slot. Returns None when there is none."""
        for request in self._queue.candidates():
            slot = self._best_slot(request)
            if slot:
                telemetry.slots_used.add(int(slot.jobs == 0))
                slot.start_job(request)
                request.slot.set_result(slot)
                return request
        return None

    def _best_slot(self, request: SlotRequest[Slot]) -> Slot | None:
        """Return the usable slot with the fewest jobs; of equals, prefer one that has served the same label."""
        usable = [slot for slot in self.leases.slots if slot.can_start(request)]
        if any(slot.is_unused for slot in usable) and not self._may_open(request):
            usable = [slot for slot in usable if not slot.is_unused]
        return min(usable, key=lambda slot: (slot.jobs, slot.label != request.label), default=None)

    def _evict_idle_session(self, *, urgent: bool) -> None:
        """Recycle the session that has been idle longest. It is idle while a job waits, so its label is another one.

        If only jobs of runs wait, a session that jobs of several recipes share is kept for a moment: its next job may
        be the next one of the run, and a new session costs another hour.
        """
        idle = [slot for slot in self.leases.slots if slot.idle and slot.accepts_jobs]
        if not urgent:
            now = time.monotonic()
            idle = [each for each in idle if not each.is_shared or now - each.idle_since > KEPT_IDLE_SECONDS]
        if idle:
            oldest = min(idle, key=lambda slot: slot.idle_since)
            oldest.taint("of another label")
            self.recycler.start(oldest, SlotState.RECYCLING)

    def _request_more_slots(self) -> None:
        """Acquire more slots in the background if they would help and no search started just now."""
        if self.leases.search_is_due():
            self._tasks.spawn(self.leases.acquire_more(self.recycler.prepare))

    async def _maintain(self) -> None:
        """Run maintenance periodically: heartbeats, rebalancing, recycling, search for slots, and status."""
        try:
            while True:
                await asyncio.sleep(MAINTENANCE_INTERVAL_SECONDS)
                self.leases.maintain(self._tasks)
                self._queue.shares.shares = self.leases.shares
                for slot in list(self.leases.slots):
                    self.recycler.maintain(slot)
                self._dispatch()
                self._request_more_slots()
                if self._status_publisher:
                    self._tasks.spawn(self._status_publisher.publish(list(self.leases.slots)))
        except asyncio.CancelledError:
            # The function host stops the event loop when it ends: release the slots at once.
            if self._maintenance is not None:
                await self.close()
            raise
