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
from pipeline.pool.batching import Estimate, Pace, nobody_knows
from pipeline.pool.client import PoolClient
from pipeline.pool.rebalancing import Sharing
from pipeline.pool.requests import Ask, Doing, Priority
from pipeline.pool.session import BUSY, Session
from pipeline.pool.slot import Documents, Slot
from pipeline.pool.status import Board, Telling, told
from pipeline.pool.waiting_queue import Line
from pipeline.settings import Settings
from pipeline.telemetry import logger

log = logger(__name__)

# How often the keeper looks after the slots, and the least time between two looks for more of them.
TICK = 1.0


class Slots:
    """This process's share of the pool: leases as work piles up, seats for jobs, recycling, giving back."""

    def __init__(
        self, settings: Settings, documents: Documents, client: PoolClient, board: Board | None = None
    ) -> None:
        self._settings, self._documents, self._client = settings, documents, client
        self._telling = Telling(board) if board else None
        self._share = min(settings.slots_per_process, settings.pool_max_sessions)
        self._slots: list[Slot] = []
        self._line: Line[Slot] = Line(settings.run_share)
        self.pace = Pace()
        self._looked = 0.0
        self._sharing = Sharing(documents, settings.pool_max_sessions)
        self._trouble: PipelineError | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._chores: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def seat(
        self,
        label: str | None = "shared",
        *,
        priority: Priority = "drop",
        group: str = "",
        size: int = 0,
        estimate: Estimate = nobody_knows,
        doing: Doing | None = None,
    ) -> AsyncIterator[Session]:
        """A session for one job, which it shares only with jobs of the same label, and with none when that is None.

        Who waits is seated by `priority`, and within that evenly by `group` (see Ask for all of them). PoolFull when
        none comes free in time, or what keeps slots from being leased at all. An error that leaves the session in doubt
        makes it the last job there.
        """
        ask: Ask[Slot] = Ask(label, priority, group, size, estimate, doing)
        slot = await self._sit_down(ask)
        try:
            yield slot.session
        except (SessionLost, SessionReplyError, asyncio.CancelledError) as error:
            kind = getattr(error, "kind", "cancelled")
            slot.doubt = slot.doubt or (kind if kind != BUSY else "")
            raise
        finally:
            self._stand_up(slot, ask)

    def told(self) -> dict[str, dict[str, Any]]:
        """What this process has to tell of the slots that it holds, by their names (see `telling`)."""
        return {slot.name: told(slot) for slot in self._slots}

    def recycle(self, name: str) -> bool:
        """End a slot's session as soon as the jobs there are through; False when this process does not hold it."""
        held = next((slot for slot in self._slots if slot.name == name), None)
        if held:
            held.doubt = held.doubt or "asked for"
        return held is not None

    async def close(self) -> None:
        """Give all slots back."""
        keeper, self._keeper = self._keeper, None
        tasks = [task for task in (keeper, *self._chores) if task and task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, self._sharing.say(0, more=False), return_exceptions=True)
        await asyncio.gather(*(self._give_back(slot) for slot in list(self._slots)), return_exceptions=True)

    async def _sit_down(self, ask: Ask[Slot]) -> Slot:
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), context=Context())
        started = time.perf_counter()
        self._line.add(ask)
        self._seat_all()
        self._look_for_more()
        try:
            async with asyncio.timeout(self._settings.slot_wait):
                slot = await ask.seat
        except BaseException as error:
            self._line.remove(ask)
            if ask.seat.done() and not ask.seat.cancelled():
                self._stand_up(ask.seat.result(), ask)
            else:
                self._seat_all()
            if isinstance(error, TimeoutError):
                raise self._why_not() from None
            raise
        telemetry.seat_seconds.record(time.perf_counter() - started, {"priority": ask.priority})
        return slot

    def _why_not(self) -> PipelineError:
        """Why no session came free. Where slots cannot be leased at all, waiting for ever would not help."""
        if self._trouble and not self._slots:
            return type(self._trouble)(self._trouble.message, kind=self._trouble.kind)
        return PoolFull(
            f"no session came free within {self._settings.slot_wait:g} s; all {self._settings.pool_max_sessions} "
            "slots are held by running jobs or by other processes"
        )

    def _stand_up(self, slot: Slot, ask: Ask[Slot]) -> None:
        slot.leave_seat(ask)
        if slot.jobs == 0:
            telemetry.slots_used.add(-1)
            if not slot.in_chore:
                self._tend_idle(slot)
        self._seat_all()

    def _seat_all(self) -> None:
        """Seat those who wait as far as there are seats; where a session of another label is idle, it makes way."""
        while ask := self._next_seated():
            self._line.remove(ask)
        if any(self._line.heads([])) and sum(slot.in_chore for slot in self._slots) < len(self._line):
            self._make_room()

    def _next_seated(self) -> Ask[Slot] | None:
        """The next of those who wait, seated; None when there is no seat for any."""
        seated = [ask for slot in self._slots for ask in slot.seats]
        for ask in self._line.heads(seated):
            slot = self._best(ask)
            if slot:
                telemetry.slots_used.add(int(slot.jobs == 0))
                slot.take_seat(ask)
                ask.seat.set_result(slot)
                return ask
        return None

    def _best(self, ask: Ask[Slot]) -> Slot | None:
        """The slot with the fewest jobs that has a seat; among equals one that has served this label before."""
        usable = (slot for slot in self._slots if slot.has_seat(ask))
        return min(usable, key=lambda slot: (slot.jobs, slot.label != ask.label), default=None)

    def _make_room(self) -> None:
        """A job waits and yet a session is idle: that one is of another label, and has to make way for a new one."""
        idle = [slot for slot in self._slots if slot.idle and not slot.worn and not slot.leaving]
        if idle:
            oldest = min(idle, key=lambda slot: slot.idle_since)
            oldest.doubt = "of another label"
            self._start(oldest, self._recycle(oldest))

    def _start(self, slot: Slot, chore: Coroutine[Any, Any, None]) -> None:
        """Do something with a slot, in which no job may start meanwhile."""
        slot.in_chore = True
        self._spawn(self._minded(slot, chore))

    async def _minded(self, slot: Slot, chore: Coroutine[Any, Any, None]) -> None:
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

    def _look_for_more(self) -> None:
        """Take more slots in the background when that would help, unless this process has looked just now."""
        now = time.monotonic()
        if self._crowded and now - self._looked >= TICK:
            self._looked = now
            self._spawn(self._take_more())

    @property
    def _wants_more(self) -> bool:
        """Whether there are more jobs than sessions, within what one process may have."""
        jobs = len(self._line) + sum(slot.jobs for slot in self._slots)
        return len(self._slots) < min(jobs, self._share)

    @property
    def _crowded(self) -> bool:
        """Whether to take another slot: one is wanted, and the others are left theirs."""
        return self._wants_more and len(self._slots) < self._sharing.most

    async def _take_more(self) -> None:
        try:
            names = await self._documents.free(self._settings.pool_max_sessions)
            self._trouble = None
            names = sorted(set(names) - {slot.name for slot in self._slots})
            random.shuffle(names)
            for name in names:
                if not self._crowded:
                    return
                await self._take(name)
            await self._sharing.say(len(self._slots), more=self._wants_more)
        except PipelineError as error:
            self._trouble = error
            log.warning("cannot lease a slot: %s", error)

    async def _share_out(self) -> None:
        """Give the slots with the least work up that other processes should have."""
        staying = [slot for slot in self._slots if not slot.leaving]
        count = await self._sharing.too_many(len(staying), more=self._wants_more)
        for slot in sorted(staying, key=lambda slot: slot.jobs)[:count]:
            slot.leaving = True
            log.info("slot %s is given up to another process", slot.name)
        await self._sharing.say(len(staying) - count, more=self._wants_more)

    async def _take(self, name: str) -> None:
        started = time.monotonic()
        document = await self._documents.take(name)
        if document is None:
            return
        slot = Slot.found(name, document, self._settings, self._client, started)
        slot.holder = self._telling.holder if self._telling else ""
        if slot.cooling or len(self._slots) >= self._share:
            await document.release()
            return
        self._slots.append(slot)
        telemetry.slots_held.add(1)
        log.info("leased slot %s, generation %d", slot.name, slot.generation)
        await self._minded(slot, self._recycle(slot) if slot.worn else self._open(slot))

    async def _open(self, slot: Slot) -> None:
        """Let jobs in, once the document says that the session is in use."""
        try:
            await slot.write("in use")
        except PipelineError as error:
            log.warning("slot %s cannot be written: %s", slot.name, error)
            await self._let_go(slot)
            return
        slot.idle_since = time.monotonic()
        slot.in_chore = False
        self._seat_all()

    # -- keeping and giving back -------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Renew leases, give idle slots back, look for slots while jobs wait. Ends by giving everything back."""
        try:
            while True:
                await asyncio.sleep(TICK)
                for slot in list(self._slots):
                    self._tend(slot)
                self._look_for_more()
                self._spawn(self._share_out())
                if self._telling:
                    self._spawn(self._telling.tell(list(self._slots)))
        except asyncio.CancelledError:
            # The loop is being stopped, which is how a function host ends: the slots are to be free at once.
            if self._keeper is not None:
                await self.close()
            raise

    def _tend(self, slot: Slot) -> None:
        now = time.monotonic()
        if not slot.renewing and now - slot.leased > self._settings.slot_lease / 3:
            self._spawn(self._renew(slot))
        if slot.idle:
            self._tend_idle(slot)
        if not slot.in_chore:
            slot.count()
            if slot.wants_writing:
                self._spawn(self._note(slot))

    def _tend_idle(self, slot: Slot) -> None:
        if slot.worn:
            self._start(slot, self._recycle(slot))
        elif slot.leaving or time.monotonic() - slot.idle_since > self._settings.session_idle:
            self._start(slot, self._give_back(slot))

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
            await self._let_cool(slot)
            return
        slot.count()
        slot.start_over()
        log.info("slot %s gets a new session, generation %d (%s)", slot.name, slot.generation, reason)
        await self._open(slot)

    async def _let_cool(self, slot: Slot) -> None:
        self._drop(slot)
        slot.count(slot.life.ends)
        with suppress(PipelineError):
            await slot.write("cooling", until=time.time() + self._settings.pool_cooldown)
            await slot.document.release()

    async def _give_back(self, slot: Slot) -> None:
        """Clean the session and free the slot.

        One in doubt, or that cannot be cleaned, stays `in use`, so that its next holder ends it.
        """
        try:
            slot.count()
            if slot.jobs == 0 and not slot.in_doubt and slot.is_ours:
                if await slot.session.clean():
                    slot.life.answered(time.time())
                await slot.write("free")
            elif slot.unwritten and slot.is_ours:
                await slot.write()
        except PipelineError as error:
            log.warning("slot %s is given back as it is: %s", slot.name, error)
        await self._let_go(slot)

    async def _let_go(self, slot: Slot) -> None:
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
