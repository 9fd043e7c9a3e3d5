"""The pool: which identifier has which session, how many there may be, and warm spares waiting for the next one."""

from __future__ import annotations

import asyncio
import itertools
import mimetypes
import os
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import zmq

from session_pool_emulator.faults import FaultPlan
from session_pool_emulator.interpreter import ABORTED, Interpreter
from session_pool_emulator.log import AccessLog, short
from session_pool_emulator.sandbox import bytecode
from session_pool_emulator.sandbox.choice import choose
from session_pool_emulator.sandbox.process import Sandbox, SandboxError
from session_pool_emulator.sandbox.view import host_view
from session_pool_emulator.sandbox.wrappers import Place
from session_pool_emulator.session import Session
from session_pool_emulator.settings import PoolSettings, SandboxKind

_FOLDER_PREFIX = "session-pool-"
_WATCH_SECONDS = 0.1


class PoolFull(Exception):  # noqa: N818 - a state of the pool
    """Every session is taken; `alive` says how many there are."""

    def __init__(self, alive: int) -> None:
        super().__init__(f"all {alive} sessions are taken")
        self.alive = alive


class Pool:
    """Start it, ask it for `session(identifier)`, close it. `alive` never exceeds `settings.max_sessions`."""

    def __init__(self, settings: PoolSettings, log: AccessLog) -> None:
        self.settings = settings
        self.log = log
        self.faults = FaultPlan(list(settings.faults), settings.fault_seed)
        self._open = True
        self.created_at = datetime.now(UTC)
        self.kind = SandboxKind.PROCESS
        self._view = host_view(settings.packages)
        self._numbers = itertools.count(1)
        self._sessions: dict[str, Session] = {}
        self._ending: set[Session] = set()
        self._spares: deque[asyncio.Task[Interpreter]] = deque()
        self._starting: set[asyncio.Task[None]] = set()
        self._retiring: set[asyncio.Task[None]] = set()
        self._watchers: set[asyncio.Task[None]] = set()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._folder = Path()

    @property
    def capacity(self) -> int:
        """How many sessions there may be now."""
        return self.faults.capacity(self.settings.max_sessions) if self._open else 0

    @property
    def alive(self) -> int:
        """Sessions that exist, those included whose processes are just being ended. Spares are nobody's session."""
        return len(self._sessions) + len(self._ending)

    @property
    def sessions(self) -> list[Session]:
        """Oldest first."""
        return [session for session in self._sessions.values() if not session.expired]

    @property
    def spares(self) -> int:
        """Warm interpreters that wait for an identifier."""
        return sum(_is_warm(spare) for spare in self._spares)

    async def start(self) -> None:
        """Find out which sandbox works here, by starting the first spare, and begin to warm the others.

        Raises SandboxError.
        """
        _sweep()
        mimetypes.init()  # reads the system's table: not in the middle of a call
        self._folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-"))
        self._folder.chmod(0o711)
        await bytecode.write_missing(self.settings.preload)
        self.kind, first = await choose(self.settings.sandbox, self._start_interpreter)
        if self.settings.spares:
            self._spares.append(asyncio.create_task(_at_once(first)))
        else:
            await first.stop()
        self._refill()
        self._start(self._watchers, self._watch())

    async def close(self) -> None:
        """End every session and every spare."""
        self._open = False
        for task in (*self._starting, *self._watchers):
            task.cancel()
        spares, self._spares = self._spares, deque()
        await asyncio.gather(*(_discard(spare) for spare in spares))
        await asyncio.gather(*(self.delete(identifier) for identifier in list(self._sessions)))
        await asyncio.gather(*self._retiring, return_exceptions=True)
        self._context.destroy(linger=0)
        shutil.rmtree(self._folder, ignore_errors=True)

    def find(self, identifier: str) -> Session | None:
        """The session of `identifier`, if it has one."""
        session = self._sessions.get(identifier)
        if session is not None and self._is_over(session):
            self._retire(session)
            return None
        return session

    async def session(self, identifier: str) -> tuple[Session, bool]:
        """The session of `identifier`, ready for use, and whether it is a new one. Raises PoolFull, SandboxError."""
        session = self.find(identifier)
        if session is None:
            await self._make_room()
            session = self._sessions.get(identifier)
        new = session is None
        if session is None:
            session = self._allocate(identifier)
        session.touch()
        await asyncio.shield(session.interpreter)
        return session, new

    async def delete(self, identifier: str) -> bool:
        """End the session of `identifier`; False when there is none. Returns when nothing of it is left."""
        session = self.find(identifier)
        if session is not None:
            await self._end(session, "deleted")
        return session is not None

    async def replace(self, identifier: str) -> None:
        """Put an empty session in the place of the one that `identifier` has, if it has one."""
        session = self.find(identifier)
        if session is not None:
            await self._end(session, "lost")

    async def _make_room(self) -> None:
        """Where the pool is full, wait for those sessions to be gone that are at their end anyway."""
        if self.alive >= self.capacity:
            for session in [found for found in self._sessions.values() if self._is_over(found)]:
                self._retire(session)
            await asyncio.gather(*(session.closed.wait() for session in self._ending))

    def _allocate(self, identifier: str) -> Session:
        if self.alive >= self.capacity:
            self.log.write("refused", session=short(identifier), alive=self.alive)
            raise PoolFull(self.alive)
        session = self._sessions[identifier] = Session(identifier, self.settings.cooldown)
        self.log.write("allocated", session=short(identifier), alive=self.alive)
        self._start(self._starting, self._equip(session))
        return session

    async def _equip(self, session: Session) -> None:
        started = time.monotonic()
        try:
            await asyncio.sleep(self.faults.start_delay())
            interpreter = await self._take()
        except asyncio.CancelledError:
            session.interpreter.cancel()
            raise
        except SandboxError as error:
            session.interpreter.set_exception(error)
            await self._end(session, "lost")
            return
        finally:
            self._refill()
        interpreter.on_restart = lambda cause: self._say_restarted(session, cause)
        session.allocation_seconds = time.monotonic() - started
        session.interpreter.set_result(interpreter)

    def _say_restarted(self, session: Session, cause: str) -> None:
        self.log.write("kernel-restarted", session=short(session.identifier), cause=cause)

    async def _take(self) -> Interpreter:
        """A spare, warm ones first; without any, a cold start."""
        while self._spares:
            spare = next(filter(_is_warm, self._spares), self._spares[0])
            self._spares.remove(spare)
            with suppress(SandboxError):
                interpreter = await spare
                if interpreter.alive:
                    return interpreter
                await interpreter.stop()
        return await self._start_interpreter(self.kind)

    async def _start_interpreter(self, kind: SandboxKind) -> Interpreter:
        number = next(self._numbers)
        sandbox = Sandbox(kind, self.settings, self._view, Place(self._folder / str(number), number))
        interpreter = Interpreter(self._context, sandbox)
        await interpreter.start()
        return interpreter

    def _refill(self) -> None:
        """As many spares as are wanted, but never more than there may be new sessions."""
        wanted = min(self.settings.spares, self.capacity - self.alive)
        while len(self._spares) < wanted:
            self._spares.append(asyncio.create_task(self._start_interpreter(self.kind)))

    def _is_over(self, session: Session) -> bool:
        equipped = session.interpreter.done()
        return session.expired or (equipped and not session.interpreter.result().alive)

    def _retire(self, session: Session) -> None:
        """Its identifier is free at once; its processes end in the background, and count until they have."""
        if session not in self._ending:
            self._sessions.pop(session.identifier, None)
            self._ending.add(session)
            self._start(self._retiring, self._close(session, "expired" if session.expired else "lost"))

    async def _end(self, session: Session, event: str) -> None:
        self._sessions.pop(session.identifier, None)
        self._ending.add(session)
        await self._close(session, event)

    async def _close(self, session: Session, event: str) -> None:
        try:
            await session.close()
        finally:
            self._ending.discard(session)
            self.log.write(event, session=short(session.identifier), alive=self.alive, uses=session.uses)
            self._refill()

    async def _watch(self) -> None:
        """Give back what nobody uses, and hold sessions to their memory."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            for session in list(self._sessions.values()):
                if not session.interpreter.done():
                    continue
                if self._is_over(session):
                    self._retire(session)
                else:
                    self._hold_to_memory(session.interpreter.result())

    def _hold_to_memory(self, interpreter: Interpreter) -> None:
        limit = self.settings.limits.memory
        if interpreter.memory(limit) > limit:
            interpreter.kill_kernel(ABORTED)

    def _start(self, tasks: set[asyncio.Task[None]], work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def _at_once(interpreter: Interpreter) -> Interpreter:
    return interpreter


def _is_warm(spare: asyncio.Task[Interpreter]) -> bool:
    return spare.done() and not spare.cancelled() and spare.exception() is None


async def _discard(spare: asyncio.Task[Interpreter]) -> None:
    """End a spare, whether it has started already or not."""
    if not spare.done():
        spare.cancel()
    with suppress(SandboxError, asyncio.CancelledError):
        await (await spare).stop()


def _sweep() -> None:
    """Remove what servers that were killed have left behind: their processes died with them, their folders did not."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*-*"):
        owner = folder.name.removeprefix(_FOLDER_PREFIX).partition("-")[0]
        if not Path("/proc", owner).exists():
            shutil.rmtree(folder, ignore_errors=True)
