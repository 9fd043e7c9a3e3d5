"""Linux system calls that the standard library lacks."""

import ctypes
import os
import signal

MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP = 1, 4, 24
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 36, 38
_SYS_MOUNT_SETATTR = 442  # the same number on every architecture
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
_LAST_CAPABILITY = 63

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttr(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


class _CapHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


def _check(result: int, operation: str) -> None:
    """Raise OSError with the name of the operation if a system call failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{operation}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Mount the file system `source` of type `kind` at `target`. `flags` is a combination of the MS_ constants.

    Raises:
        OSError: The call failed.
    """
    arguments = [text.encode() for text in (source, target, kind)]
    _check(_libc.mount(*arguments, ctypes.c_ulong(flags), options.encode()), f"mount {source} on {target}")


def make_read_only(target: str, *, recursive: bool) -> None:
    """Make the mount at `target` read-only. Flags that an outer namespace has locked stay set.

    Raises:
        OSError: The call failed.
    """
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
    """Make `root` the root folder and unmount the old root from this mount namespace.

    Raises:
        OSError: A call failed.
    """
    os.chdir(root)
    _check(_libc.pivot_root(b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", MNT_DETACH), "unmount the old root")
    os.chdir("/")


def die_with_parent() -> None:
    """Let Linux send SIGKILL to this process when its parent ends. Call it after a change of user, which resets it."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of descendants whose parent has ended, as process 1 would."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def set_traceable(*, allowed: bool) -> None:
    """Allow or forbid processes of the same user to trace this process."""
    _libc.prctl(_PR_SET_DUMPABLE, int(allowed), 0, 0, 0)


def forbid_new_privileges() -> None:
    """Prevent this process and its children from gaining capabilities. Call it before `drop_capabilities`."""
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for capability in range(_LAST_CAPABILITY + 1):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # fails for numbers above the last capability; ignored


def drop_capabilities() -> None:
    """Drop all capabilities of this process.

    Raises:
        OSError: The call failed.
    """
    header = _CapHeader(version=0x20080522, pid=0)
    no_capabilities = (ctypes.c_uint32 * 6)()
    _check(_libc.capset(ctypes.byref(header), ctypes.byref(no_capabilities)), "capset")
