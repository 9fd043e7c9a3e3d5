"""The pool's capacity as slots, shared by all processes through leased documents.

A slot's document names the session's identifier before the session is first used, and says `in use` while a process
holds it. So every session that exists is named by some slot, never more exist than there are slots, and whoever takes
over from a process that died finds `in use` and starts with a new session.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from typing import Any

from pipeline import telemetry
from pipeline.errors import PipelineError, PoolFull, SessionLost, SessionReplyError
from pipeline.pool.batching import DurationEstimator, Estimate, no_estimate
from pipeline.pool.client import PoolClient
from pipeline.pool.rebalancing import SlotRebalancer
from pipeline.pool.requests import JobLabel, Priority, SlotRequest
from pipeline.pool.session import BUSY, Session
from pipeline.pool.slot import Slot, SlotDocuments
from pipeline.pool.status import SlotStatusPublisher, StatusTable, slot_status
from pipeline.pool.waiting_queue import FairPriorityQueue
from pipeline.settings import Settings
from pipeline.telemetry import logger

log = logger(__name__)

# How often the keeper looks after the slots, and the least time between two looks for more of them.
MAINTENANCE_INTERVAL_SECONDS = 1.0


class SlotScheduler:
    """This process's share of the pool: leases as work piles up, seats for jobs, recycling, giving back."""

    def __init__(
        self, settings: Settings, documents: SlotDocuments, client: PoolClient, board: StatusTable | None = None
    ) -> None:
        self._settings, self._documents, self._client = settings, documents, client
        self._status_publisher = SlotStatusPublisher(board) if board else None
        self._share = min(settings.max_slots_per_process, settings.pool_max_sessions)
        self._slots: list[Slot] = []
        self._queue: FairPriorityQueue[Slot] = FairPriorityQueue(settings.run_share)
        self.durations = DurationEstimator()
        self._looked = 0.0
        self._rebalancer = SlotRebalancer(documents, settings.pool_max_sessions)
        self._last_error: PipelineError | None = None
        self._maintenance: asyncio.Task[None] | None = None
        self._chores: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def acquire_slot(
        self,
        label: str | None = "shared",
        *,
        priority: Priority = "upload",
        group: str = "",
        size: int = 0,
        estimate: Estimate = no_estimate,
        doing: JobLabel | None = None,
    ) -> AsyncIterator[Session]:
        """A session for one job, which it shares only with jobs of the same label, and with none when that is None.

        Who waits is seated by `priority`, and within that evenly by `group` (see Ask for all of them). PoolFull when
        none comes free in time, or what keeps slots from being leased at all. An error that leaves the session in doubt
        makes it the last job there.
        """
        ask: SlotRequest[Slot] = SlotRequest(label, priority, group, size, estimate, doing)
        slot = await self._acquire(ask)
        try:
            yield slot.session
        except (SessionLost, SessionReplyError, asyncio.CancelledError) as error:
            kind = getattr(error, "kind", "cancelled")
            slot.recycle_reason = slot.recycle_reason or (kind if kind != BUSY else "")
            raise
        finally:
            self._release(slot, ask)

    def status_rows(self) -> dict[str, dict[str, Any]]:
        """What this process has to tell of the slots that it holds, by their names (see `telling`)."""
        return {slot.name: slot_status(slot) for slot in self._slots}

    def recycle(self, name: str) -> bool:
        """End a slot's session as soon as the jobs there are through; False when this process does not hold it."""
        held = next((slot for slot in self._slots if slot.name == name), None)
        if held:
            held.recycle_reason = held.recycle_reason or "asked for"
        return held is not None

    async def close(self) -> None:
        """Give all slots back."""
        keeper, self._maintenance = self._maintenance, None
        tasks = [task for task in (keeper, *self._chores) if task and task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, self._rebalancer.publish_demand(0, more=False), return_exceptions=True)
        await asyncio.gather(*(self._return_slot(slot) for slot in list(self._slots)), return_exceptions=True)

    async def _acquire(self, ask: SlotRequest[Slot]) -> Slot:
        if self._maintenance is None:
            self._maintenance = asyncio.create_task(self._maintain(), context=Context())
        started = time.perf_counter()
        self._queue.add(ask)
        self._dispatch()
        self._request_more_slots()
        try:
            async with asyncio.timeout(self._settings.slot_acquire_timeout):
                slot = await ask.slot
        except BaseException as error:
            self._queue.remove(ask)
            if ask.slot.done() and not ask.slot.cancelled():
                self._release(ask.slot.result(), ask)
            else:
                self._dispatch()
            if isinstance(error, TimeoutError):
                raise self._acquire_error() from None
            raise
        telemetry.slot_wait_seconds.record(time.perf_counter() - started, {"priority": ask.priority})
        return slot

    def _acquire_error(self) -> PipelineError:
        """Why no session came free. Where slots cannot be leased at all, waiting for ever would not help."""
        if self._last_error and not self._slots:
            return type(self._last_error)(self._last_error.message, kind=self._last_error.kind)
        return PoolFull(
            f"no session became free within {self._settings.slot_acquire_timeout:g} s: running jobs or other processes "
            f"hold all {self._settings.pool_max_sessions} slots"
        )

    def _release(self, slot: Slot, ask: SlotRequest[Slot]) -> None:
        slot.end_job(ask)
        if slot.jobs == 0:
            telemetry.slots_used.add(-1)
            if not slot.maintenance:
                self._maintain_idle_slot(slot)
        self._dispatch()

    def _dispatch(self) -> None:
        """Seat those who wait as far as there are seats; where a session of another label is idle, it makes way."""
        while ask := self._dispatch_next():
            self._queue.remove(ask)
        if any(self._queue.heads([])) and sum(slot.maintenance for slot in self._slots) < len(self._queue):
            self._evict_idle_session()

    def _dispatch_next(self) -> SlotRequest[Slot] | None:
        """The next of those who wait, seated; None when there is no seat for any."""
        seated = [ask for slot in self._slots for ask in slot.requests]
        for ask in self._queue.heads(seated):
            slot = self._best_slot(ask)
            if slot:
                telemetry.slots_used.add(int(slot.jobs == 0))
                slot.start_job(ask)
                ask.slot.set_result(slot)
                return ask
        return None

    def _best_slot(self, ask: SlotRequest[Slot]) -> Slot | None:
        """The slot with the fewest jobs that has a seat; among equals one that has served this label before."""
        usable = (slot for slot in self._slots if slot.can_start(ask))
        return min(usable, key=lambda slot: (slot.jobs, slot.label != ask.label), default=None)

    def _evict_idle_session(self) -> None:
        """A job waits and yet a session is idle: that one is of another label, and has to make way for a new one."""
        idle = [slot for slot in self._slots if slot.idle and not slot.needs_recycling and not slot.draining]
        if idle:
            oldest = min(idle, key=lambda slot: slot.idle_since)
            oldest.recycle_reason = "of another label"
            self._start(oldest, self._recycle(oldest))

    def _start(self, slot: Slot, chore: Coroutine[Any, Any, None]) -> None:
        """Do something with a slot, in which no job may start meanwhile."""
        slot.maintenance = True
        self._spawn(self._guarded(slot, chore))

    async def _guarded(self, slot: Slot, chore: Coroutine[Any, Any, None]) -> None:
        try:
            await chore
        except Exception:  # the boundary: a bug must not hold a slot for ever, renewed and yet closed to jobs
            log.exception("a bug: slot %s is let go as it is", slot.name)
            self._drop(slot)

    def _spawn(self, chore: Coroutine[Any, Any, None]) -> None:
        # In a context of its own: what is said about a slot is not about the job that happened to need it.
        task = asyncio.create_task(chore, context=Context())
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    # -- taking slots ------------------------------------------------------------------------------------------------

    def _request_more_slots(self) -> None:
        """Take more slots in the background when that would help, unless this process has looked just now."""
        now = time.monotonic()
        if self._should_acquire and now - self._looked >= MAINTENANCE_INTERVAL_SECONDS:
            self._looked = now
            self._spawn(self._acquire_more_slots())

    @property
    def _needs_more_slots(self) -> bool:
        """Whether there are more jobs than sessions, within what one process may have."""
        jobs = len(self._queue) + sum(slot.jobs for slot in self._slots)
        return len(self._slots) < min(jobs, self._share)

    @property
    def _should_acquire(self) -> bool:
        """Whether to take another slot: one is wanted, and the others are left theirs."""
        return self._needs_more_slots and len(self._slots) < self._rebalancer.most

    async def _acquire_more_slots(self) -> None:
        try:
            names = await self._documents.list_free(self._settings.pool_max_sessions)
            self._last_error = None
            names = sorted(set(names) - {slot.name for slot in self._slots})
            random.shuffle(names)
            for name in names:
                if not self._should_acquire:
                    return
                await self._acquire_lease(name)
            await self._rebalancer.publish_demand(len(self._slots), more=self._needs_more_slots)
        except PipelineError as error:
            self._last_error = error
            log.warning("cannot lease a slot: %s", error)

    async def _rebalance(self) -> None:
        """Give the slots with the least work up that other processes should have."""
        staying = [slot for slot in self._slots if not slot.draining]
        count = await self._rebalancer.surplus(len(staying), more=self._needs_more_slots)
        for slot in sorted(staying, key=lambda slot: slot.jobs)[:count]:
            slot.draining = True
            log.info("slot %s is given up to another process", slot.name)
        await self._rebalancer.publish_demand(len(staying) - count, more=self._needs_more_slots)

    async def _acquire_lease(self, name: str) -> None:
        started = time.monotonic()
        document = await self._documents.acquire(name)
        if document is None:
            return
        slot = Slot.from_document(name, document, self._settings, self._client, started)
        slot.holder = self._status_publisher.holder if self._status_publisher else ""
        if slot.cooling or len(self._slots) >= self._share:
            await document.release()
            return
        self._slots.append(slot)
        telemetry.slots_held.add(1)
        log.info("leased slot %s, generation %d", slot.name, slot.generation)
        await self._guarded(slot, self._recycle(slot) if slot.needs_recycling else self._open(slot))

    async def _open(self, slot: Slot) -> None:
        """Let jobs in, once the document says that the session is in use."""
        try:
            await slot.write("in use")
        except PipelineError as error:
            log.warning("slot %s cannot be written: %s", slot.name, error)
            await self._release_lease(slot)
            return
        slot.idle_since = time.monotonic()
        slot.maintenance = False
        self._dispatch()

    # -- keeping and giving back -------------------------------------------------------------------------------------

    async def _maintain(self) -> None:
        """Renew leases, give idle slots back, look for slots while jobs wait. Ends by giving everything back."""
        try:
            while True:
                await asyncio.sleep(MAINTENANCE_INTERVAL_SECONDS)
                for slot in list(self._slots):
                    self._maintain_slot(slot)
                self._request_more_slots()
                self._spawn(self._rebalance())
                if self._status_publisher:
                    self._spawn(self._status_publisher.publish(list(self._slots)))
        except asyncio.CancelledError:
            # The loop is being stopped, which is how a function host ends: the slots are to be free at once.
            if self._maintenance is not None:
                await self.close()
            raise

    def _maintain_slot(self, slot: Slot) -> None:
        now = time.monotonic()
        if not slot.renewing and now - slot.leased > self._settings.slot_lease_duration / 3:
            self._spawn(self._renew(slot))
        if slot.idle:
            self._maintain_idle_slot(slot)
        if not slot.maintenance:
            slot.record_billed_hours()
            if slot.wants_writing:
                self._spawn(self._note(slot))

    def _maintain_idle_slot(self, slot: Slot) -> None:
        if slot.needs_recycling:
            self._start(slot, self._recycle(slot))
        elif slot.draining or time.monotonic() - slot.idle_since > self._settings.session_idle_timeout:
            self._start(slot, self._return_slot(slot))

    async def _renew(self, slot: Slot) -> None:
        started = time.monotonic()
        slot.renewing = True
        try:
            await slot.document.renew()
            slot.leased = started
        except PipelineError as error:
            log.warning("slot %s could not be renewed: %s", slot.name, error)
            if error.kind == "lease_lost":
                self._drop(slot)
        finally:
            slot.renewing = False

    async def _note(self, slot: Slot) -> None:
        """Write down that the session has begun another hour. What cannot be written now is tried again."""
        try:
            await slot.write()
        except PipelineError as error:
            log.info("slot %s cannot be written now: %s", slot.name, error)

    async def _recycle(self, slot: Slot) -> None:
        """End the session and give the slot a new identifier."""
        reason = slot.in_doubt or "worn"
        try:
            if slot.identifier:
                await slot.session.end()
        except PipelineError as error:
            log.warning("slot %s: its session cannot be ended and is left to cool down: %s", slot.name, error)
            await self._leave_to_cool_down(slot)
            return
        slot.record_billed_hours()
        slot.new_identity()
        log.info("slot %s gets a new session, generation %d (%s)", slot.name, slot.generation, reason)
        await self._open(slot)

    async def _leave_to_cool_down(self, slot: Slot) -> None:
        self._drop(slot)
        slot.record_billed_hours(slot.lifetime.ends)
        with suppress(PipelineError):
            await slot.write("cooling", until=time.time() + self._settings.pool_cooldown)
            await slot.document.release()

    async def _return_slot(self, slot: Slot) -> None:
        """Clean the session and free the slot.

        One in doubt, or that cannot be cleaned, stays `in use`, so that its next holder ends it.
        """
        try:
            slot.record_billed_hours()
            if slot.jobs == 0 and not slot.in_doubt and slot.lease_is_valid:
                if await slot.session.clean():
                    slot.lifetime.answered(time.time())
                await slot.write("free")
            elif slot.unwritten and slot.lease_is_valid:
                await slot.write()
        except PipelineError as error:
            log.warning("slot %s is given back as it is: %s", slot.name, error)
        await self._release_lease(slot)

    async def _release_lease(self, slot: Slot) -> None:
        """Release the slot as it is; where storage does not hear of it, its lease ends by itself."""
        try:
            await slot.document.release()
        except PipelineError as error:
            log.warning("giving slot %s back: %s", slot.name, error)
        self._drop(slot)
        log.info("gave slot %s back", slot.name)

    def _drop(self, slot: Slot) -> None:
        slot.lost = True
        if slot in self._slots:
            self._slots.remove(slot)
            telemetry.slots_held.add(-1)
