"""The few system calls that Python has no name for. Linux only; each raises OSError with what was tried."""

from __future__ import annotations

import ctypes
import os
import signal

MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP = 1, 4, 24
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 36, 38
_SYS_MOUNT_SETATTR = 442  # the same on every architecture: it is younger than the split tables
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
_LAST_CAPABILITY = 63

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttr(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


class _CapHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """mount(2)."""
    words = [text.encode() for text in (source, target, kind)]
    _check(_libc.mount(*words, ctypes.c_ulong(flags), options.encode()), f"mount {source} on {target}")


def make_read_only(target: str, *, recursive: bool) -> None:
    """Nothing under `target` can be written any more. Keeps the flags that an outer namespace has locked."""
    attributes = _MountAttr(attr_set=_ATTR_RDONLY | _ATTR_NOSUID | _ATTR_NODEV)
    if not recursive:
        attributes.attr_set = _ATTR_RDONLY
    flags = _AT_RECURSIVE if recursive else 0
    size = ctypes.sizeof(attributes)
    result = _libc.syscall(
        _SYS_MOUNT_SETATTR, _AT_FDCWD, target.encode(), flags, ctypes.byref(attributes), ctypes.c_size_t(size)
    )
    _check(result, f"make {target} read-only")


def pivot_root(root: str) -> None:
    """`root` becomes "/" and the old one is gone from this mount namespace."""
    os.chdir(root)
    _check(_libc.pivot_root(b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", MNT_DETACH), "umount of the old root")
    os.chdir("/")


def die_with_parent() -> None:
    """SIGKILL for this process when its parent ends. A change of user clears it: call it after that."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def adopt_orphans() -> None:
    """Descendants whose parent ended become children of this process, as they would of process 1."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def set_traceable(*, allowed: bool) -> None:
    """Whether processes of the same user may look into this one."""
    _libc.prctl(_PR_SET_DUMPABLE, int(allowed), 0, 0, 0)


def renounce_privileges() -> None:
    """No program that is started from here on gets a capability. Comes before `drop_privileges`, which ends the right
    to say so."""
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for capability in range(_LAST_CAPABILITY + 1):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # fails past the last one, and where there is none


def drop_privileges() -> None:
    """No capability in this process."""
    header = _CapHeader(version=0x20080522, pid=0)
    nothing = (ctypes.c_uint32 * 6)()
    _check(_libc.capset(ctypes.byref(header), ctypes.byref(nothing)), "capset")
