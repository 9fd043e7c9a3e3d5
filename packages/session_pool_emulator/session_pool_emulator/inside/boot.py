"""The first process of a sandbox: narrows itself for good, then looks after the kernel.

It is process 1 wherever there is a process namespace, so its end is the end of everything in the session. Its only tie
to the outside is the control socket: when the other end closes, for whatever reason, it ends.
"""

from __future__ import annotations

import gc
import importlib
import os
import resource
import socket
import sys
from contextlib import suppress
from pathlib import Path

from . import kernel, mounts, supervisor, syscalls
from .config import BootConfig, Limits

_MESSAGE_BYTES = 1 << 20


def main(fd: int) -> None:
    """Run on the control socket that was inherited as `fd`. Does not return."""
    control = socket.socket(fileno=fd)
    message = control.recv(_MESSAGE_BYTES)
    if not message:
        os._exit(0)
    config = BootConfig.load(message)
    _narrow(config)
    sys.path += config.packages
    _preload(config.preload)
    _hand_over(control, data=config.data, channel=config.channel)
    _silence()
    supervisor.Supervisor(control, config).run()


def _narrow(config: BootConfig) -> None:
    if config.mounts is not None:
        mounts.enter(config.mounts)
    os.umask(0o022)
    _limit(config.limits)
    syscalls.renounce_privileges()
    _drop_user(config.uid)
    syscalls.drop_privileges()
    syscalls.die_with_parent()
    syscalls.set_traceable(allowed=False)
    Path(config.scratch).mkdir(exist_ok=True)
    os.environ.update(HOME=config.scratch, TMPDIR=config.scratch)
    os.chdir(config.work)


def _limit(limits: Limits) -> None:
    table = {
        resource.RLIMIT_AS: limits.address_space,
        resource.RLIMIT_FSIZE: limits.file_size,
        resource.RLIMIT_NPROC: limits.processes,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in table.items():
        resource.setrlimit(kind, (value, value))
    with suppress(OSError):  # when the machine runs out of memory, sessions go first
        Path("/proc/self/oom_score_adj").write_text("1000")


def _drop_user(uid: int | None) -> None:
    if uid is None:
        return
    with suppress(OSError):  # not mapped in an outer user namespace: this user has no real privileges anyway
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)


def _preload(names: list[str]) -> None:
    """Import once, before the kernel is forked, so that a restarted kernel is there at once."""
    kernel.preload()
    for name in names:
        with suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


def _hand_over(control: socket.socket, **folders: str) -> None:
    """Give the server handles of its own on directories: taken before foreign code ran, so they are the real ones.

    They lie in file systems of the session: what it writes is held to their size, and never reaches a disk.
    """
    for event, path in folders.items():
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        socket.send_fds(control, [b'{"event": "%s"}' % event.encode()], [fd])
        os.close(fd)


def _silence() -> None:
    """What was printed until here explains a failed start; from here on nobody reads it."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
