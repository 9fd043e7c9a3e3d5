"""Pool: maps identifiers to sessions, enforces the limits and keeps warm interpreters for new sessions."""

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

from session_pool_emulator.interpreter import ABORTED, Interpreter
from session_pool_emulator.log import AccessLog, short_hash
from session_pool_emulator.sandbox.launch import SandboxFolder, compile_packages, find_host_mounts
from session_pool_emulator.sandbox.process import Sandbox, SandboxError, select_sandbox
from session_pool_emulator.session import Session
from session_pool_emulator.settings import FaultInjector, PoolSettings, SandboxKind

_FOLDER_PREFIX = "session-pool-"
_MONITOR_INTERVAL_SECONDS = 0.1


class PoolFullError(Exception):
    """Raised if a call needs a new session and the pool is at its capacity."""


class Pool:
    """Pool of sessions. The number of sessions, `alive`, never exceeds `capacity`."""

    def __init__(self, settings: PoolSettings, log: AccessLog) -> None:
        """Prepare a pool; `start` starts it."""
        self.settings = settings
        self.log = log
        self.faults = FaultInjector(list(settings.faults), settings.fault_seed)
        self._open = True
        self.created_at = datetime.now(UTC)
        self.sandbox_kind = SandboxKind.PROCESS
        self._host_mounts = find_host_mounts(settings.packages)
        self._sandbox_numbers = itertools.count(1)
        self._sessions: dict[str, Session] = {}
        self._ending: set[Session] = set()
        self._spares: deque[asyncio.Task[Interpreter]] = deque()
        self._starting: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._monitors: set[asyncio.Task[None]] = set()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._folder = Path()

    @property
    def capacity(self) -> int:
        """Current maximum number of sessions; 0 after `close`."""
        return self.faults.limit_capacity(self.settings.max_sessions) if self._open else 0

    @property
    def alive(self) -> int:
        """Number of sessions, including sessions that are still shutting down, without spares."""
        return len(self._sessions) + len(self._ending)

    @property
    def sessions(self) -> list[Session]:
        """Sessions that have not expired, oldest first."""
        return [session for session in self._sessions.values() if not session.expired]

    @property
    def spares(self) -> int:
        """Number of warm interpreters that are ready for a new session."""
        return sum(_is_ready(spare) for spare in self._spares)

    async def start(self) -> None:
        """Select a sandbox by starting the first spare in it, then start the other spares.

        Raises:
            SandboxError: No sandbox works on this machine.
        """
        _remove_stale_folders()
        mimetypes.init()  # reads system files, which would delay the first call
        self._folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-"))
        self._folder.chmod(0o711)
        await compile_packages(self.settings.preload)
        self.sandbox_kind, first = await select_sandbox(self.settings.sandbox, self._start_interpreter)
        if self.settings.spares:
            # All spares are tasks: this one ends at once, with the interpreter that is started already.
            self._spares.append(asyncio.create_task(asyncio.sleep(0, first)))
        else:
            await first.stop()
        self._refill_spares()
        self._run_in_background(self._monitors, self._monitor())

    async def close(self) -> None:
        """End all sessions and spares."""
        self._open = False
        for task in (*self._starting, *self._monitors):
            task.cancel()
        spares, self._spares = self._spares, deque()
        await asyncio.gather(*(_stop_spare(spare) for spare in spares))
        await asyncio.gather(*(self.delete(identifier) for identifier in list(self._sessions)))
        await asyncio.gather(*self._closing, return_exceptions=True)
        self._context.destroy(linger=0)
        shutil.rmtree(self._folder, ignore_errors=True)

    def find(self, identifier: str) -> Session | None:
        """Return the session of `identifier`, or None if it has none."""
        session = self._sessions.get(identifier)
        if session is not None and self._has_ended(session):
            self._retire(session)
            return None
        return session

    async def get_or_allocate(self, identifier: str) -> tuple[Session, bool]:
        """Return the session of `identifier`, ready for use, and whether this call allocated it.

        Raises:
            PoolFullError: The pool is at its capacity.
            SandboxError: The session did not start.
        """
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

    async def delete(self, identifier: str, *, event: str = "deleted") -> bool:
        """End the session of `identifier`, wait until its processes have ended, and log `event`.

        Returns:
            False if the identifier has no session.
        """
        session = self.find(identifier)
        if session is not None:
            await self._end(session, event)
        return session is not None

    async def _make_room(self) -> None:
        """If the pool is full, end expired and dead sessions and wait until they have ended."""
        if self.alive >= self.capacity:
            for session in [session for session in self._sessions.values() if self._has_ended(session)]:
                self._retire(session)
            await asyncio.gather(*(session.closed.wait() for session in self._ending))

    def _allocate(self, identifier: str) -> Session:
        """Create a session and start to attach an interpreter to it."""
        if self.alive >= self.capacity:
            self.log.write("refused", session=short_hash(identifier), alive=self.alive)
            raise PoolFullError(f"all {self.alive} sessions are in use")
        session = self._sessions[identifier] = Session(identifier, self.settings.cooldown_seconds)
        self.log.write("allocated", session=short_hash(identifier), alive=self.alive)
        self._run_in_background(self._starting, self._attach_interpreter(session))
        return session

    async def _attach_interpreter(self, session: Session) -> None:
        started = time.monotonic()
        try:
            await asyncio.sleep(self.faults.draw_start_delay())
            interpreter = await self._take_interpreter()
        except asyncio.CancelledError:
            session.interpreter.cancel()
            raise
        except SandboxError as error:
            session.interpreter.set_exception(error)
            await self._end(session, "lost")
            return
        finally:
            self._refill_spares()
        interpreter.on_restart = lambda cause: self.log.write(
            "kernel-restarted", session=short_hash(session.identifier), cause=cause
        )
        session.allocation_seconds = time.monotonic() - started
        session.interpreter.set_result(interpreter)

    async def _take_interpreter(self) -> Interpreter:
        """Take a ready spare, else one that is starting, else start an interpreter."""
        while self._spares:
            spare = next(filter(_is_ready, self._spares), self._spares[0])
            self._spares.remove(spare)
            with suppress(SandboxError):
                interpreter = await spare
                if interpreter.alive:
                    return interpreter
                await interpreter.stop()
        return await self._start_interpreter(self.sandbox_kind)

    async def _start_interpreter(self, kind: SandboxKind) -> Interpreter:
        number = next(self._sandbox_numbers)
        folder = SandboxFolder(self._folder / str(number), number)
        interpreter = Interpreter(self._context, Sandbox(kind, self.settings, self._host_mounts, folder), self.settings)
        await interpreter.start()
        return interpreter

    def _refill_spares(self) -> None:
        """Start missing spares, but not more than the number of sessions that can still be allocated."""
        target = min(self.settings.spares, self.capacity - self.alive)
        while len(self._spares) < target:
            self._spares.append(asyncio.create_task(self._start_interpreter(self.sandbox_kind)))

    def _has_ended(self, session: Session) -> bool:
        """Return whether the session has expired or its sandbox has ended."""
        ready = session.interpreter.done()
        return session.expired or (ready and not session.interpreter.result().alive)

    def _retire(self, session: Session) -> None:
        """Free the identifier now and end the processes in the background. The session counts as alive until then."""
        if session not in self._ending:
            self._sessions.pop(session.identifier, None)
            self._ending.add(session)
            self._run_in_background(self._closing, self._close(session, "expired" if session.expired else "lost"))

    async def _end(self, session: Session, event: str) -> None:
        self._sessions.pop(session.identifier, None)
        self._ending.add(session)
        await self._close(session, event)

    async def _close(self, session: Session, event: str) -> None:
        try:
            await session.close()
        finally:
            self._ending.discard(session)
            self.log.write(event, session=short_hash(session.identifier), alive=self.alive, uses=session.calls)
            self._refill_spares()

    async def _monitor(self) -> None:
        """End expired sessions and enforce memory limits, ten times per second."""
        while True:
            await asyncio.sleep(_MONITOR_INTERVAL_SECONDS)
            for session in list(self._sessions.values()):
                if not session.interpreter.done():
                    continue
                if self._has_ended(session):
                    self._retire(session)
                else:
                    self._enforce_memory_limit(session.interpreter.result())

    def _enforce_memory_limit(self, interpreter: Interpreter) -> None:
        limit = self.settings.limits.memory_bytes
        if interpreter.memory_bytes(limit) > limit:
            interpreter.kill_kernel(ABORTED)

    def _run_in_background(self, tasks: set[asyncio.Task[None]], work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)


def _is_ready(spare: asyncio.Task[Interpreter]) -> bool:
    return spare.done() and not spare.cancelled() and spare.exception() is None


async def _stop_spare(spare: asyncio.Task[Interpreter]) -> None:
    """End a spare, even if it is still starting."""
    if not spare.done():
        spare.cancel()
    with suppress(SandboxError, asyncio.CancelledError):
        await (await spare).stop()


def _remove_stale_folders() -> None:
    """Remove the folders of killed servers. Their processes have ended with them, but their folders remain."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*-*"):
        owner_pid = folder.name.removeprefix(_FOLDER_PREFIX).partition("-")[0]
        if not Path("/proc", owner_pid).exists():
            shutil.rmtree(folder, ignore_errors=True)
