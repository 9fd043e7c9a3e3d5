"""Recycler: open slots, give them new sessions, let sessions cool down, and return clean slots."""

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Literal

from pipeline.concurrency import BackgroundTasks
from pipeline.errors import PipelineError
from pipeline.pool.hours import HourAccount
from pipeline.pool.lease_keeper import LeaseKeeper
from pipeline.pool.slot import ACTIVE, FINAL, Slot, SlotState
from pipeline.settings import Settings
from pipeline.telemetry import logger

log = logger(__name__)


class SlotRecycler:
    """Recycler of this process's slots."""

    def __init__(
        self,
        settings: Settings,
        leases: LeaseKeeper,
        tasks: BackgroundTasks,
        on_ready: Callable[[], None],
        hours: HourAccount,
    ) -> None:
        """Create a recycler that calls `on_ready` when a slot accepts jobs again."""
        self._settings, self._leases, self._tasks, self._on_ready = settings, leases, tasks, on_ready
        self._hours = hours

    async def prepare(self, slot: Slot) -> None:
        """Open a slot that was just leased; recycle its session first where needed."""
        if slot.needs_recycling:
            slot.become(SlotState.RECYCLING)
        await self._guarded(slot, self._recycle if slot.needs_recycling else self._open)

    def maintain(self, slot: Slot) -> None:
        """Start the maintenance of a slot that is due."""
        self.maintain_idle(slot)
        if slot.state in ACTIVE:
            slot.record_billed_hours()
            if slot.renewal_is_due:
                self._tasks.spawn(slot.renew(self._hours))
            if slot.lifetime.counted > slot.reserved.count:  # the platform has replaced the session
                self._tasks.spawn(slot.reserved.settle(self._hours, slot.lifetime.counted))
            if slot.needs_writing:
                self._tasks.spawn(self.write_billed_hours(slot))

    def maintain_idle(self, slot: Slot) -> None:
        """Recycle or return a slot without jobs, if it is time. Do nothing while jobs run or maintenance is under way.

        A slot that is handed over is not recycled first: its next holder does that.
        """
        if not slot.idle:
            return
        handing_over = slot.state is SlotState.HANDING_OVER
        if slot.needs_recycling and not handing_over:
            self.start(slot, SlotState.RECYCLING)
        elif handing_over or time.monotonic() - slot.idle_since > self._settings.session_idle_timeout:
            self.start(slot, SlotState.RETURNING)

    def start(self, slot: Slot, state: Literal[SlotState.RECYCLING, SlotState.RETURNING]) -> Awaitable[None]:
        """Start to recycle or to return a slot in the background. No job may start there meanwhile."""
        slot.become(state)
        action = self._recycle if state is SlotState.RECYCLING else self._return
        return self._tasks.spawn(self._guarded(slot, action))

    async def _guarded(self, slot: Slot, action: Callable[[Slot], Awaitable[None]]) -> None:
        """Maintain a slot. Drop it after a bug, which must not keep it leased and closed to jobs for ever."""
        try:
            await action(slot)
        except Exception:  # the boundary
            log.exception("bug in the maintenance of slot %s; dropping it", slot.name, extra={"event": "slot.broken"})
            self._leases.drop(slot)

    async def _open(self, slot: Slot) -> None:
        """Accept jobs once the document says that the session is in use."""
        try:
            await slot.write()
        except PipelineError as error:
            log.warning("cannot write slot %s: %s", slot.name, error, extra={"event": "slot.write_failed"})
            await self._leases.release(slot)
            return
        if slot.state not in FINAL:
            slot.idle_since = time.monotonic()
            slot.become(SlotState.READY)
            self._on_ready()

    async def write_billed_hours(self, slot: Slot) -> None:
        """Write the document because the session started another hour. The next maintenance retries a failed write."""
        try:
            await slot.write()
        except PipelineError as error:
            log.info("cannot write slot %s now: %s", slot.name, error, extra={"event": "slot.write_delayed"})

    async def _recycle(self, slot: Slot) -> None:
        """End the session, give the slot a new identifier, and open it."""
        reason = slot.in_doubt or "used up or too old"
        try:
            if slot.identifier:
                await slot.session.end()
        except PipelineError as error:
            log.warning(
                "cannot end the session of slot %s, which cools down now: %s",
                slot.name,
                error,
                extra={"event": "session.end_failed"},
            )
            await self._cool_down(slot)
            return
        if slot.state not in FINAL:
            slot.record_billed_hours()
            await slot.reserved.settle(self._hours, slot.lifetime.counted)
            slot.new_identity()
            log.info(
                "slot %s gets a new session, generation %d (%s)",
                slot.name,
                slot.generation,
                reason,
                extra={"event": "session.recycled"},
            )
            slot.become(SlotState.OPENING)
            await self._open(slot)

    async def _cool_down(self, slot: Slot) -> None:
        """Release a slot for the time in which its session, which could not be ended, expires by inactivity."""
        self._leases.drop(slot, SlotState.COOLING)
        slot.record_billed_hours(slot.lifetime.ends)
        await slot.reserved.settle(self._hours, slot.lifetime.counted)
        with suppress(PipelineError):
            await slot.write(SlotState.COOLING, until=time.time() + self._settings.pool_cooldown)
            await slot.document.release()

    async def _return(self, slot: Slot) -> None:
        """Clean the session and release the slot.

        A slot stays `in use` when its session is in doubt or cannot be cleaned, so that the next holder ends it.
        """
        state = SlotState.LOST
        try:
            slot.record_billed_hours()
            if slot.jobs == 0 and not slot.in_doubt and slot.lease_is_valid:
                if await slot.session.clean():
                    slot.lifetime.mark_responded(time.time())
                if not await slot.reserved.pay_until_expiry(self._hours, slot.lifetime, slot.label):
                    await slot.session.end()
                    slot.record_billed_hours()
                    slot.new_identity()
                await slot.write(SlotState.FREE)
                state = SlotState.FREE
            elif slot.unwritten and slot.lease_is_valid:
                await slot.write()
        except PipelineError as error:
            log.warning("releasing slot %s as it is: %s", slot.name, error, extra={"event": "slot.clean_failed"})
        await self._leases.release(slot, state)
