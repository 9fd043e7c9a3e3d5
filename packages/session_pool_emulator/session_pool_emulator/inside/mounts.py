"""The file system of a session, built with mount(2) in a fresh mount namespace and entered for good."""

from __future__ import annotations

import os
from pathlib import Path

from .config import Mounts
from .syscalls import MS_BIND, MS_NODEV, MS_NOSUID, MS_PRIVATE, MS_REC, make_read_only, mount, pivot_root

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_DEVICE_LINKS = (("/proc/self/fd", "fd"), ("fd/0", "stdin"), ("fd/1", "stdout"), ("fd/2", "stderr"))
_SHARED_MEMORY_BYTES = 64 << 20


def enter(plan: Mounts) -> None:
    """Build the tree of `plan` and make it "/". Needs a mount and a process namespace of its own; raises OSError."""
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    _tmpfs(plan.root, 1 << 20)
    for path, size in plan.tmpfs:  # first: the interpreter may lie below one of them
        _tmpfs(plan.root + path, size)
    for source, path in plan.read_only:
        make_read_only(_bind(source, plan.root + path), recursive=True)
    for target, path in plan.symlinks:
        _parent(plan.root + path).symlink_to(target)
    _devices(plan.root + "/dev")
    _directory(plan.root + "/proc")
    mount("proc", plan.root + "/proc", "proc", MS_NOSUID | MS_NODEV)
    pivot_root(plan.root)
    make_read_only("/", recursive=False)


def _devices(dev: str) -> None:
    _tmpfs(dev, 1 << 20)
    for name in _DEVICES:
        _bind(f"/dev/{name}", f"{dev}/{name}")
    for target, name in _DEVICE_LINKS:
        Path(dev, name).symlink_to(target)
    _tmpfs(f"{dev}/shm", _SHARED_MEMORY_BYTES)
    make_read_only(dev, recursive=False)


def _tmpfs(path: str, size: int) -> None:
    _directory(path)
    mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, f"size={size},mode=0777")


def _bind(source: str, target: str) -> str:
    if os.path.isdir(source):  # noqa: PTH112 - paths are plain strings here: they name things in two trees
        _directory(target)
    else:
        _parent(target).touch()
    mount(source, target, "", MS_BIND | MS_REC)
    return target


def _directory(path: str) -> None:
    Path(path).mkdir(parents=True, exist_ok=True)


def _parent(path: str) -> Path:
    _directory(os.path.dirname(path))  # noqa: PTH120
    return Path(path)
