"""Keeps one kernel alive: starts it, says when it died and why, starts the next one, and ends everything at the end."""

from __future__ import annotations

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
    """The loop of the first process. Messages on the control socket are one JSON object each.

    From the server: `{"op": "interrupt"}`, `{"op": "restart"}`. To the server: `{"event": "ready", "kernel": n}` (said
    by the kernel itself, once its sockets are bound) and `{"event": "died", "kernel": n, "status": wait status}`.
    """

    def __init__(self, control: socket.socket, config: BootConfig) -> None:
        self._control = control
        self._config = config
        self._count = 0
        self._kernel = 0
        self._wake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def run(self) -> NoReturn:
        """Until the server closes its end."""
        syscalls.adopt_orphans()
        self._start_kernel()
        selector = selectors.DefaultSelector()
        selector.register(self._control, selectors.EVENT_READ, self._obey)
        selector.register(self._wake, selectors.EVENT_READ, self._reap)
        while True:
            for key, _ in selector.select():
                key.data()

    def _obey(self) -> None:
        try:
            message = self._control.recv(4096)
        except OSError:
            message = b""
        if not message:
            self._end()
        if json.loads(message)["op"] == "interrupt":
            self._signal_kernel(signal.SIGINT)
        else:
            self._signal_kernel(signal.SIGKILL)

    def _signal_kernel(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._kernel, number)

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake, 4096)
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._kernel:
                    self._replace_kernel(ended[1])

    def _replace_kernel(self, status: int) -> None:
        """Nothing of the old kernel may be running when the new one binds its sockets."""
        kill_everything_else()
        self._say(event="died", kernel=self._count, status=status)
        self._start_kernel()

    def _start_kernel(self) -> None:
        self._count += 1
        self._kernel = os.fork()
        if self._kernel == 0:
            self._become_kernel()

    def _become_kernel(self) -> NoReturn:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        syscalls.die_with_parent()
        syscalls.set_traceable(allowed=True)
        kernel.serve(self._config, self._count, self._kernel_ready)
        os._exit(0)

    def _kernel_ready(self) -> None:
        self._say(event="ready", kernel=self._count)
        self._control.close()

    def _say(self, **message: object) -> None:
        with suppress(OSError):
            self._control.send(json.dumps(message).encode())

    def _end(self) -> NoReturn:
        kill_everything_else()
        os._exit(0)


def kill_everything_else() -> None:
    """SIGKILL for every other process of the session, however it was started.

    In a process namespace that is one call. Elsewhere descendants are hunted until there are none: all of them are
    ours, because orphans come back to this process.
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
    """Every process below `pid`, as far as one look shows; of first threads only, unless `every_thread`."""
    children: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task") if every_thread else (pid,):  # noqa: PTH208 - asked often
            with suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as file:  # noqa: PTH123
                children += map(int, file.read().split())
    except OSError:
        return []
    return children + [below for child in children for below in descendants(child, every_thread=every_thread)]
