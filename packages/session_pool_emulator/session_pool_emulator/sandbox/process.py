"""Running sandbox, its control socket and folders; and the selection of the first kind that starts on this machine."""

import asyncio
import json
import os
import secrets
import shutil
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from session_pool_emulator.files import SessionFiles
from session_pool_emulator.sandbox.launch import HostMounts, SandboxFolder, prepare_launch, session_uid
from session_pool_emulator.settings import PoolSettings, SandboxKind

_MAX_MESSAGE_BYTES = 4096
_STOP_TIMEOUT_SECONDS = 2.0


class SandboxError(Exception):
    """Raised if a sandbox does not start or has ended. The message contains the error of the system."""


@dataclass(frozen=True)
class KernelDied:
    """Death of kernel number `kernel`; `status` is the wait status of `os.waitpid`."""

    kernel: int
    status: int


class Sandbox:
    """Sandbox of one session. `ended` is set when the sandbox has ended or has been told to end.

    Code inside the sandbox is untrusted: an invalid message on the control socket ends the sandbox.
    """

    def __init__(self, kind: SandboxKind, settings: PoolSettings, mounts: HostMounts, folder: SandboxFolder) -> None:
        """Prepare a sandbox; `start` starts it. `on_kernel_death` is called when a kernel dies."""
        self.kind = kind
        self.folder = folder
        self.key = secrets.token_hex(16)
        self.ended = asyncio.Event()
        self.on_kernel_death: Callable[[KernelDied], None] = lambda _: None
        self._settings = settings
        self._mounts = mounts
        self._uid = session_uid(kind, folder.number)
        self._folder_fds: dict[str, int] = {}
        self._ready_kernels: asyncio.Queue[int] = asyncio.Queue()
        self._control: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None

    def files(self) -> SessionFiles:
        """Open `/mnt/data` of the session. The caller closes it.

        Raises:
            SandboxError: The sandbox has ended.
        """
        if self.ended.is_set() or "data" not in self._folder_fds:
            raise SandboxError("the session has ended")
        return SessionFiles(os.dup(self._folder_fds["data"]), self._uid)

    @property
    def pid(self) -> int | None:
        """Process id of the outermost process, the ancestor of all processes in the sandbox."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start the processes and wait until the sockets of the first kernel are bound.

        Raises:
            SandboxError: The sandbox did not start.
        """
        self._create_folder()
        self._control, remote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        timeout = self._settings.start_timeout_seconds
        try:
            with remote:
                self._process = await self._spawn(self._control, remote.fileno())
            async with asyncio.timeout(timeout):
                await self._wait_for_first_kernel(self._process)
        except TimeoutError:
            await self.stop()
            raise SandboxError(f"not ready within {timeout:g} s") from None
        except (OSError, SandboxError, asyncio.CancelledError) as error:
            await self.stop()
            raise SandboxError(str(error)) if isinstance(error, OSError) else error from None

    async def _spawn(self, control: socket.socket, fd: int) -> asyncio.subprocess.Process:
        """Start the first process with the control socket `fd`, and send its configuration."""
        launch = prepare_launch(self.kind, self._settings, self._mounts, self.folder, fd, self.key)
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
        asyncio.get_running_loop().add_reader(control.fileno(), self._read_message, control)
        control.send(launch.config.dump())
        return process

    async def _wait_for_first_kernel(self, process: asyncio.subprocess.Process) -> None:
        ready = asyncio.ensure_future(self.next_ready_kernel())
        ended = asyncio.ensure_future(self.ended.wait())
        await asyncio.wait((ready, ended), return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if not ready.done():
            ready.cancel()
            raise SandboxError(await _last_error_line(process))

    async def next_ready_kernel(self) -> int:
        """Wait until the sockets of a kernel are bound and return its number."""
        return await self._ready_kernels.get()

    def interrupt(self) -> None:
        """Send SIGINT to the kernel, which raises KeyboardInterrupt in the running code."""
        self._send_command("interrupt")

    def restart_kernel(self) -> None:
        """Kill the kernel. The supervisor starts the next one in the same sandbox, with the same files."""
        self._send_command("restart")

    def succeed_kernel(self) -> None:
        """Kill the kernel alone. The supervisor starts the next one beside the other processes of the session."""
        self._send_command("succeed")

    def socket_prefix(self, kernel: int) -> Path:
        """Return the common prefix of the socket paths of kernel number `kernel`, valid in this process only.

        The sockets are in the file system of the session, which only the server's descriptor leads to.

        Raises:
            SandboxError: The sandbox has ended.
        """
        if "channel" not in self._folder_fds:
            raise SandboxError("the session has ended")
        return Path(f"/proc/self/fd/{self._folder_fds['channel']}/{kernel}")

    def _send_command(self, op: str) -> None:
        if self._control is not None:
            with suppress(OSError):
                self._control.send(json.dumps({"op": op}).encode())

    def _read_message(self, control: socket.socket) -> None:
        """Read one message from the control socket; end the sandbox if it is invalid or the socket is closed."""
        try:
            message, fds, _, _ = socket.recv_fds(control, _MAX_MESSAGE_BYTES, 1)
        except BlockingIOError:
            return
        except OSError:
            message, fds = b"", []
        try:
            self._handle_event(json.loads(message), fds)
        except (ValueError, KeyError, TypeError):
            self.disconnect()

    def _handle_event(self, message: dict[str, Any], fds: list[int]) -> None:
        if message["event"] in ("data", "channel") and message["event"] not in self._folder_fds:
            os.set_inheritable(fds[0], False)
            self._folder_fds[message["event"]] = fds.pop()
        elif message["event"] == "ready":
            self._ready_kernels.put_nowait(int(message["kernel"]))
        elif message["event"] == "died":
            self.on_kernel_death(KernelDied(int(message["kernel"]), int(message["status"])))
        for fd in fds:
            os.close(fd)

    def disconnect(self) -> None:
        """Close the control socket: the first process then exits and ends all processes of the sandbox."""
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()
            self._control = None
        self.ended.set()

    async def stop(self) -> None:
        """End all processes of the sandbox, wait for their end and free their resources."""
        self.disconnect()
        if self._process is not None:
            await self._reap(self._process)
        while self._folder_fds:
            os.close(self._folder_fds.popitem()[1])
        shutil.rmtree(self.folder.path, ignore_errors=True)

    async def _reap(self, process: asyncio.subprocess.Process) -> None:
        """Wait for the first process; kill its process group after 2 s."""
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_SECONDS):
                await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    def _create_folder(self) -> None:
        """Create the folders of the sandbox on the host; the user of the session owns those that it writes to."""
        self.folder.path.mkdir(mode=0o711, parents=True)
        for path in (self.folder.channel, self.folder.root, self.folder.data):
            path.mkdir(mode=0o700)
        if self._uid is not None:
            for path in (self.folder.channel, self.folder.data, self.folder.path):
                os.chown(path, self._uid, self._uid)


async def _last_error_line(process: asyncio.subprocess.Process) -> str:
    """Return the last line that a failed process has written to standard error."""
    lines: list[str] = []
    if process.stderr is not None:
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                lines = (await process.stderr.read(65536)).decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "the process ended without an error message"


Started = TypeVar("Started")

_KINDS_BY_ISOLATION = (SandboxKind.BWRAP, SandboxKind.UNSHARE, SandboxKind.PROCESS)
_PROCESS_WARNING = (
    "warning: sessions run as plain processes with resource limits only, without a sandbox: they can read this "
    "machine's files and reach the network ({reasons}). Install bubblewrap to isolate them."
)


async def select_sandbox(
    requested: SandboxKind, start: Callable[[SandboxKind], Awaitable[Started]]
) -> tuple[SandboxKind, Started]:
    """Start a sandbox of the requested kind; for `AUTO`, try the kinds from the strongest isolation to the weakest.

    Returns:
        The kind that started, and the result of `start`.

    Raises:
        SandboxError: No kind started; the message has the error of each.
    """
    reasons: list[str] = []
    for kind in _KINDS_BY_ISOLATION if requested is SandboxKind.AUTO else (requested,):
        try:
            started = await start(kind)
        except SandboxError as error:
            reasons.append(f"{kind}: {error}")
            continue
        if kind is SandboxKind.PROCESS:
            reason = "; ".join(reasons) or "--sandbox process"
            print(_PROCESS_WARNING.format(reasons=reason), file=sys.stderr, flush=True)  # noqa: T201
        return kind, started
    raise SandboxError(f"no sandbox starts on this machine; {'; '.join(reasons)}")
