"""File system of a session, built with mount(2) in a new mount namespace."""

import os
from pathlib import Path

from .config import Mounts
from .syscalls import MS_BIND, MS_NODEV, MS_NOSUID, MS_PRIVATE, MS_REC, make_read_only, mount, pivot_root

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_DEVICE_LINKS = (("/proc/self/fd", "fd"), ("fd/0", "stdin"), ("fd/1", "stdout"), ("fd/2", "stderr"))
_SHARED_MEMORY_BYTES = 64 << 20


def enter(plan: Mounts) -> None:
    """Build the file system of `plan` and make it "/". The old root becomes inaccessible.

    Needs a private mount namespace and a private PID namespace.

    Raises:
        OSError: A system call failed.
    """
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    _mount_tmpfs(plan.root, 1 << 20)
    for path, size in plan.tmpfs:  # before the read-only mounts, because the interpreter can be below one of these
        _mount_tmpfs(plan.root + path, size)
    for source, path in plan.read_only:
        make_read_only(_bind_mount(source, plan.root + path), recursive=True)
    for target, path in plan.symlinks:
        _make_parent(plan.root + path).symlink_to(target)
    _mount_devices(plan.root + "/dev")
    _make_folder(plan.root + "/proc")
    mount("proc", plan.root + "/proc", "proc", MS_NOSUID | MS_NODEV)
    pivot_root(plan.root)
    make_read_only("/", recursive=False)


def _mount_devices(dev: str) -> None:
    """Create a /dev with the basic devices and 64 MiB of shared memory."""
    _mount_tmpfs(dev, 1 << 20)
    for name in _DEVICES:
        _bind_mount(f"/dev/{name}", f"{dev}/{name}")
    for target, name in _DEVICE_LINKS:
        Path(dev, name).symlink_to(target)
    _mount_tmpfs(f"{dev}/shm", _SHARED_MEMORY_BYTES)
    make_read_only(dev, recursive=False)


def _mount_tmpfs(path: str, size: int) -> None:
    """Mount a tmpfs of `size` bytes that every user can write to."""
    _make_folder(path)
    mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, f"size={size},mode=0777")


def _bind_mount(source: str, target: str) -> str:
    """Mount a file or a folder of the host at `target`, and return `target`."""
    if os.path.isdir(source):  # noqa: PTH112 - paths are strings here, because they refer to two trees
        _make_folder(target)
    else:
        _make_parent(target).touch()
    mount(source, target, "", MS_BIND | MS_REC)
    return target


def _make_folder(path: str) -> None:
    Path(path).mkdir(parents=True, exist_ok=True)


def _make_parent(path: str) -> Path:
    """Create the parent folder of `path`, and return `path`."""
    _make_folder(os.path.dirname(path))  # noqa: PTH120
    return Path(path)
