"""One running sandbox as the server holds it: its processes, its control socket and a handle on its files."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from session_pool_emulator.files import Files
from session_pool_emulator.sandbox import wrappers
from session_pool_emulator.sandbox.view import View
from session_pool_emulator.settings import PoolSettings, SandboxKind

_MESSAGE_BYTES = 4096
_STOP_SECONDS = 2.0


class SandboxError(Exception):
    """A sandbox did not start; the message says what the system said."""


@dataclass(frozen=True)
class KernelDied:
    """The kernel number `kernel` ended; `status` as os.waitpid gives it."""

    kernel: int
    status: int


class Sandbox:
    """Started by `start`, ended by `stop`; `ended` is set when everything in it is gone or as good as gone.

    Whatever runs inside is not trusted: a message on the control socket that makes no sense ends the sandbox.
    """

    def __init__(self, kind: SandboxKind, settings: PoolSettings, view: View, place: wrappers.Place) -> None:
        self.kind = kind
        self.place = place
        self.key = secrets.token_hex(16)
        self.ended = asyncio.Event()
        self.on_death: Callable[[KernelDied], None] = lambda _: None
        self._settings = settings
        self._view = view
        self._handles: dict[str, int] = {}
        self._ready: asyncio.Queue[int] = asyncio.Queue()
        self._control: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None

    def files(self) -> Files:
        """The session's `/mnt/data`, to be closed after use. Raises SandboxError when the sandbox has ended."""
        if self.ended.is_set() or "data" not in self._handles:
            raise SandboxError("the session has ended")
        return Files(os.dup(self._handles["data"]), wrappers.session_uid(self.kind, self.place.number))

    @property
    def pid(self) -> int | None:
        """The outermost process; everything in the sandbox descends from it."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start the processes and wait for the first kernel's sockets. Raises SandboxError."""
        self._make_place()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._process = await self._spawn(self._control, theirs.fileno())
            async with asyncio.timeout(self._settings.start_timeout):
                await self._first_kernel(self._process)
        except TimeoutError:
            await self.stop()
            raise SandboxError(f"not ready within {self._settings.start_timeout:g} s") from None
        except (OSError, SandboxError, asyncio.CancelledError) as error:
            await self.stop()
            raise SandboxError(str(error)) if isinstance(error, OSError) else error from None

    async def _spawn(self, control: socket.socket, fd: int) -> asyncio.subprocess.Process:
        launch = wrappers.plan(self.kind, self._settings, self._view, self.place, fd, self.key)
        process = await asyncio.create_subprocess_exec(
            *launch.argv,
            env=launch.env,
            cwd="/",
            pass_fds=(fd,),
            start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        control.setblocking(False)
        asyncio.get_running_loop().add_reader(control.fileno(), self._hear, control)
        control.send(launch.config.dump())
        return process

    async def _first_kernel(self, process: asyncio.subprocess.Process) -> None:
        started = asyncio.ensure_future(self.kernel_ready())
        ended = asyncio.ensure_future(self.ended.wait())
        await asyncio.wait((started, ended), return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if not started.done():
            started.cancel()
            raise SandboxError(await _last_words(process))

    async def kernel_ready(self) -> int:
        """The number of the next kernel whose sockets are bound."""
        return await self._ready.get()

    def interrupt(self) -> None:
        """Ctrl-C for the running code."""
        self._say("interrupt")

    def restart(self) -> None:
        """Kill the kernel: the next one starts by itself, in the same sandbox, with the same files."""
        self._say("restart")

    def sockets(self, kernel: int) -> Path:
        """The path that the names of the sockets of kernel number `kernel` begin with, for this process alone.

        They lie in the session's own file system, to which only our handle leads. Raises SandboxError without one.
        """
        if "channel" not in self._handles:
            raise SandboxError("the session has ended")
        return Path(f"/proc/self/fd/{self._handles['channel']}/{kernel}")

    def _say(self, op: str) -> None:
        if self._control is not None:
            with suppress(OSError):
                self._control.send(json.dumps({"op": op}).encode())

    def _hear(self, control: socket.socket) -> None:
        try:
            message, fds, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 1)
        except BlockingIOError:
            return
        except OSError:
            message, fds = b"", []
        try:
            self._handle(json.loads(message), fds)
        except (ValueError, KeyError, TypeError):
            self.hang_up()

    def _handle(self, message: dict[str, Any], fds: list[int]) -> None:
        if message["event"] in ("data", "channel") and message["event"] not in self._handles:
            os.set_inheritable(fds[0], False)
            self._handles[message["event"]] = fds.pop()
        elif message["event"] == "ready":
            self._ready.put_nowait(int(message["kernel"]))
        elif message["event"] == "died":
            self.on_death(KernelDied(int(message["kernel"]), int(message["status"])))
        for fd in fds:
            os.close(fd)

    def hang_up(self) -> None:
        """Let go: the first process ends when its control socket does, and everything in the sandbox with it."""
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()
            self._control = None
        self.ended.set()

    async def stop(self) -> None:
        """End everything in the sandbox and free what it held. Returns when no process of it is left."""
        self.hang_up()
        if self._process is not None:
            await self._reap(self._process)
        while self._handles:
            os.close(self._handles.popitem()[1])
        self._remove_place()

    async def _reap(self, process: asyncio.subprocess.Process) -> None:
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    def _make_place(self) -> None:
        folder = self.place.folder
        folder.mkdir(mode=0o711, parents=True)
        for path in (self.place.channel, self.place.root, self.place.data):
            path.mkdir(mode=0o700)
        self._give_away(self.place.channel, self.place.data, folder)

    def _give_away(self, *paths: Path) -> None:
        uid = wrappers.session_uid(self.kind, self.place.number)
        if uid is not None:
            for path in paths:
                os.chown(path, uid, uid)

    def _remove_place(self) -> None:
        shutil.rmtree(self.place.folder, ignore_errors=True)


async def _last_words(process: asyncio.subprocess.Process) -> str:
    """The last line of what a process that did not get far has printed."""
    words: list[str] = []
    if process.stderr is not None:
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                words = (await process.stderr.read(65536)).decode("utf-8", "replace").strip().splitlines()
    return words[-1] if words else "it ended without a word"
