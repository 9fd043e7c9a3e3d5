"""Supervisor of the kernel: starts it, reports its death, starts its successor, and kills all processes at the end."""

import json
import os
import selectors
import signal
import socket
from contextlib import suppress
from typing import NoReturn

from . import kernel, syscalls
from .config import BootConfig


class Supervisor:
    """Event loop of the first process. Each message on the control socket is one JSON object.

    Commands of the server: `{"op": "interrupt"}`, `{"op": "restart"}` (end all processes) and `{"op": "succeed"}` (end
    the kernel alone). Events to the server:
    `{"event": "ready", "kernel": n}`, sent by the kernel after its sockets are bound, and
    `{"event": "died", "kernel": n, "status": wait status}`.
    """

    def __init__(self, control: socket.socket, config: BootConfig) -> None:
        """Install the signal handling of the process."""
        self._control = control
        self._config = config
        self._kernel_number = 0
        self._kernel_pid = 0
        self._spare_others = False
        self._wakeup_fd, write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)

    def run(self) -> NoReturn:
        """Start a kernel and supervise it until the server closes the control socket."""
        syscalls.adopt_orphans()
        self._start_kernel()
        selector = selectors.DefaultSelector()
        selector.register(self._control, selectors.EVENT_READ, self._on_command)
        selector.register(self._wakeup_fd, selectors.EVENT_READ, self._reap_children)
        while True:
            for key, _ in selector.select():
                key.data()

    def _on_command(self) -> None:
        """Execute a command of the server; shut down if the server has closed its end."""
        try:
            message = self._control.recv(4096)
        except OSError:
            message = b""
        if not message:
            self._shut_down()
        op = json.loads(message)["op"]
        self._spare_others = op == "succeed"
        with suppress(ProcessLookupError):
            os.kill(self._kernel_pid, signal.SIGINT if op == "interrupt" else signal.SIGKILL)

    def _reap_children(self) -> None:
        """Reap ended children; replace the kernel if it is one of them."""
        with suppress(BlockingIOError):
            os.read(self._wakeup_fd, 4096)
        with suppress(ChildProcessError):
            while (child := os.waitpid(-1, os.WNOHANG))[0]:
                if child[0] == self._kernel_pid:
                    self._replace_kernel(child[1])

    def _replace_kernel(self, status: int) -> None:
        """Kill all processes of the old kernel before the new one binds its sockets, unless the server spares them."""
        if not self._spare_others:
            kill_other_processes()
        self._spare_others = False
        self._send_event(event="died", kernel=self._kernel_number, status=status)
        self._start_kernel()

    def _start_kernel(self) -> None:
        self._kernel_number += 1
        self._kernel_pid = os.fork()
        if self._kernel_pid == 0:
            self._run_kernel()

    def _run_kernel(self) -> NoReturn:
        """Run the kernel in the forked child process."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        syscalls.die_with_parent()
        syscalls.set_traceable(allowed=True)
        kernel.serve(self._config, self._kernel_number, self._on_kernel_ready)
        os._exit(0)

    def _on_kernel_ready(self) -> None:
        self._send_event(event="ready", kernel=self._kernel_number)
        self._control.close()

    def _send_event(self, **message: object) -> None:
        with suppress(OSError):
            self._control.send(json.dumps(message).encode())

    def _shut_down(self) -> NoReturn:
        kill_other_processes()
        os._exit(0)


def kill_other_processes() -> None:
    """Send SIGKILL to all other processes of the session.

    In a PID namespace this is one call. Otherwise, kill descendants until none is left: this process adopts orphans, so
    that every process of the session is a descendant.
    """
    if os.getpid() == 1:
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        return
    while living := descendants(os.getpid()):
        for pid in living:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def descendants(pid: int, *, every_thread: bool = True) -> list[int]:
    """Return the process ids below `pid`. Without `every_thread`, read the children of the first threads only.

    Processes that start or end during the call can be missing.
    """
    children: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task") if every_thread else (pid,):  # noqa: PTH208 - called often
            with suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as file:  # noqa: PTH123
                children += map(int, file.read().split())
    except OSError:
        return []
    return children + [below for child in children for below in descendants(child, every_thread=every_thread)]
