"""The three ways to shut a session in: the command that starts its first process, and what is left for that to do."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from session_pool_emulator.inside.config import BootConfig, Limits, Mounts
from session_pool_emulator.sandbox.view import CHANNEL, DATA, INSIDE, PACKAGES, SCRATCH, WORK, View
from session_pool_emulator.settings import PoolSettings, SandboxKind

_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); from inside import boot; "
    "sys.path.remove(sys.argv[1]); boot.main(int(sys.argv[2]))"
)
_HERE = str(Path(__file__).parent.parent)
_SHARED_MEMORY_BYTES = 64 << 20
_WORK_BYTES = 64 << 20
_CHANNEL_BYTES = 1 << 20
_FIRST_UID = 1_900_000_000  # above everything that systemd's list of user ids gives to anybody


@dataclass(frozen=True)
class Place:
    """Where one sandbox lives on the host: a private directory, and a number that no other sandbox has."""

    folder: Path
    number: int

    @property
    def channel(self) -> Path:
        """The kernel's sockets, in plain-process mode only: elsewhere they lie in a file system of their own."""
        return self.folder / "c"

    @property
    def root(self) -> Path:
        """An empty directory to build a file system on."""
        return self.folder / "root"

    @property
    def data(self) -> Path:
        """The session's files, in plain-process mode only: elsewhere they lie in a file system of their own."""
        return self.folder / "data"


@dataclass(frozen=True)
class Launch:
    """A command, the message that its process waits for, and the programs' environment."""

    argv: list[str]
    config: BootConfig
    env: dict[str, str]


def session_uid(kind: SandboxKind, number: int) -> int | None:
    """Root gives every session a user of its own, if that can read the interpreter; others have only themselves."""
    if os.geteuid() != 0 or (kind is SandboxKind.PROCESS and not _python_is_public()):
        return None
    return _FIRST_UID + number % 100_000


def plan(kind: SandboxKind, settings: PoolSettings, view: View, place: Place, fd: int, key: str) -> Launch:
    """How to start the sandbox `place` of `kind`, which talks over the inherited socket `fd`."""
    if kind is SandboxKind.BWRAP:
        return Launch(_bwrap(settings, view, place, fd), _config(settings, place, key), _environment())
    if kind is SandboxKind.UNSHARE:
        config = _config(settings, place, key, mounts=_mounts(settings, view, place))
        return Launch([*_unshare(), *_python(_HERE, fd)], config, _environment())
    return Launch(_python(_HERE, fd), _plain_config(settings, place, key), _environment())


def _python(library: str, fd: int) -> list[str]:
    return [sys.executable, "-I", "-c", _BOOT, library, str(fd)]


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed")
    return found


def _unshare() -> list[str]:
    spaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child"]
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return [_program("unshare"), *user, *spaces, "--"]


def _bwrap(settings: PoolSettings, view: View, place: Place, fd: int) -> list[str]:
    argv = [_program("bwrap"), "--die-with-parent", "--as-pid-1", "--new-session", "--unshare-pid", "--unshare-net"]
    argv += ["--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "session", "--cap-drop", "ALL"]
    if os.geteuid() == 0:
        argv += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP"]
    else:
        argv += ["--unshare-user", "--uid", "1000", "--gid", "1000"]
    argv += _folders([DATA, WORK, SCRATCH, CHANNEL])
    for path, size in _sizes(settings):  # before what is read-only: the interpreter may lie below one of them
        argv += _tmpfs(path, size)
    argv += _folders([path for _, path in view.read_only])
    for source, path in view.read_only:
        argv += ["--ro-bind", source, path]
    for target, path in view.symlinks:
        argv += ["--symlink", target, path]
    argv += ["--proc", "/proc", "--dev", "/dev"]
    argv += _tmpfs("/dev/shm", _SHARED_MEMORY_BYTES)  # noqa: S108 - inside the sandbox
    return [*argv, "--remount-ro", "/dev", "--remount-ro", "/", "--", *_python(INSIDE, fd)]


def _tmpfs(path: str, size: int) -> list[str]:
    return ["--perms", "0777", "--size", str(size), "--tmpfs", path]


def _folders(paths: list[str]) -> list[str]:
    """Make what leads to `paths`: left to itself, bubblewrap makes it for its own user alone."""
    folders = sorted({str(folder) for path in paths for folder in list(Path(path).parents)[:-1]})
    return [word for folder in folders for word in ("--perms", "0755", "--dir", folder)]


def _sizes(settings: PoolSettings) -> list[tuple[str, int]]:
    """Every place that a session can write to, and its bytes."""
    places = [(DATA, settings.limits.data), (WORK, _WORK_BYTES), (SCRATCH, settings.limits.scratch)]
    return [*places, (CHANNEL, _CHANNEL_BYTES)]


def _mounts(settings: PoolSettings, view: View, place: Place) -> Mounts:
    return Mounts(
        root=str(place.root),
        read_only=view.read_only,
        symlinks=view.symlinks,
        tmpfs=_sizes(settings),
    )


def _config(settings: PoolSettings, place: Place, key: str, mounts: Mounts | None = None) -> BootConfig:
    return BootConfig(
        data=DATA,
        work=WORK,
        scratch=SCRATCH,
        channel=CHANNEL,
        key=key,
        uid=session_uid(SandboxKind.BWRAP, place.number),
        limits=_limits(settings),
        preload=list(settings.preload),
        packages=[PACKAGES] if settings.packages else [],
        mounts=mounts,
    )


def _plain_config(settings: PoolSettings, place: Place, key: str) -> BootConfig:
    """No file system of its own: the session's paths are host paths."""
    return BootConfig(
        data=str(place.data),
        work=str(place.data),
        scratch=str(place.folder / "tmp"),
        channel=str(place.channel),
        key=key,
        uid=session_uid(SandboxKind.PROCESS, place.number),
        limits=_limits(settings),
        preload=list(settings.preload),
        packages=[str(settings.packages)] if settings.packages else [],
        mounts=None,
    )


def _python_is_public() -> bool:
    """Whether another user could import from this interpreter's folders."""
    paths = [Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix)]
    return all(folder.stat().st_mode & 0o001 for path in paths for folder in (path, *path.parents))


def _limits(settings: PoolSettings) -> Limits:
    limits = settings.limits
    return Limits(
        address_space=limits.address_space,
        file_size=limits.data,
        processes=limits.processes,
        open_files=limits.open_files,
    )
