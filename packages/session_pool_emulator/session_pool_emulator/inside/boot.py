"""First process of a sandbox: enters the sandbox, drops its privileges and supervises the kernel.

With a PID namespace it is process 1, so that its end is the end of all processes of the session. Its only connection to
the server is the control socket. It exits when the server closes that socket or ends.
"""

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

_MAX_MESSAGE_BYTES = 1 << 20


def main(fd: int) -> None:
    """Receive the configuration on the inherited control socket `fd`, then supervise kernels. Does not return."""
    control = socket.socket(fileno=fd)
    message = control.recv(_MAX_MESSAGE_BYTES)
    if not message:
        os._exit(0)
    config = BootConfig.load(message)
    _enter_sandbox(config)
    sys.path += config.packages
    _preload(config.preload)
    _send_folder_handles(control, data=config.data, channel=config.channel)
    _discard_output()
    supervisor.Supervisor(control, config).run()


def _enter_sandbox(config: BootConfig) -> None:
    """Build the file system, set the limits and drop all privileges for good."""
    if config.mounts is not None:
        mounts.enter(config.mounts)
    os.umask(0o022)
    _set_limits(config.limits)
    syscalls.forbid_new_privileges()
    _change_user(config.uid)
    syscalls.drop_capabilities()
    syscalls.die_with_parent()
    syscalls.set_traceable(allowed=False)
    Path(config.scratch).mkdir(exist_ok=True)
    os.environ.update(HOME=config.scratch, TMPDIR=config.scratch)
    os.chdir(config.work)


def _set_limits(limits: Limits) -> None:
    """Set the resource limits that the kernel inherits."""
    values = {
        resource.RLIMIT_AS: limits.address_space_bytes,
        resource.RLIMIT_FSIZE: limits.file_size_bytes,
        resource.RLIMIT_NPROC: limits.processes,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in values.items():
        resource.setrlimit(kind, (value, value))
    with suppress(OSError):  # if the machine runs out of memory, Linux kills sessions first
        Path("/proc/self/oom_score_adj").write_text("1000")


def _change_user(uid: int | None) -> None:
    """Switch to the user of the session, if it has its own."""
    if uid is None:
        return
    with suppress(
        OSError
    ):  # the outer user namespace has no mapping for `uid`: this user has no real privileges anyway
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)


def _preload(names: list[str]) -> None:
    """Import modules once, before the kernel is forked, so that a new kernel starts fast."""
    kernel.preload()
    for name in names:
        with suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


def _send_folder_handles(control: socket.socket, **folders: str) -> None:
    """Send the server a descriptor of each folder.

    Untrusted code has not run yet, so that the descriptors are of the real folders. The folders are in file systems of
    the session: data that the server writes counts towards their size and never reaches a disk.
    """
    for event, path in folders.items():
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        socket.send_fds(control, [b'{"event": "%s"}' % event.encode()], [fd])
        os.close(fd)


def _discard_output() -> None:
    """Redirect the standard streams to /dev/null. Earlier output explains a failed start; later output is not read."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
