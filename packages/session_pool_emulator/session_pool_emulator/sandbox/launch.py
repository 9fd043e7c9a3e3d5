"""Commands that start the first process of a sandbox, one for each kind, and the host files that a session can read.

A session cannot write bytecode files, and compiling all packages for each session takes seconds. So the packages that
a session imports are compiled before.
"""

import asyncio
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from session_pool_emulator.inside.config import BootConfig, Limits, Mounts
from session_pool_emulator.settings import PoolSettings, SandboxKind

_KERNEL_MODULE = "ipykernel.kernelapp"


async def compile_packages(preload: tuple[str, ...]) -> None:
    """Import the packages of a session once, outside a sandbox, if the installer has not compiled them."""
    if not _bytecode_is_missing():
        return
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    code = f"import {', '.join((_KERNEL_MODULE, *preload))}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    await process.wait()


def _bytecode_is_missing() -> bool:
    spec = importlib.util.find_spec(_KERNEL_MODULE.partition(".")[0])
    return spec is not None and spec.cached is not None and not Path(spec.cached).exists()


BOOT_FOLDER = "/opt/session-pool"
PACKAGES = "/opt/packages"
DATA, WORK, SCRATCH, CHANNEL = "/mnt/data", "/app", "/tmp", "/run/session"  # noqa: S108 - paths inside a sandbox
_PROGRAM_FOLDERS = ("bin", "lib", "lib32", "lib64", "libx32")
_SYSTEM = (
    *(f"/usr/{name}" for name in _PROGRAM_FOLDERS), "/usr/share/fonts", "/usr/share/zoneinfo", "/usr/share/mime"
)  # fmt: skip
_CONFIGURATION = ("/etc/ld.so.cache", "/etc/fonts", "/etc/alternatives", "/etc/mime.types")


@dataclass(frozen=True)
class HostMounts:
    """Read-only mounts as (host path, path inside), parents first, and symbolic links as (target, path inside)."""

    read_only: list[tuple[str, str]]
    symlinks: list[tuple[str, str]]


def find_host_mounts(packages: Path | None = None) -> HostMounts:
    """Return the mounts that this interpreter needs to run a kernel, and a mount of the folder `packages`."""
    links = [(str(path.readlink()), str(path)) for path in _top_level_folders() if path.is_symlink()]
    folders = [str(path) for path in _top_level_folders() if not path.is_symlink()]
    folders += [path for path in (*_SYSTEM, *_CONFIGURATION) if Path(path).exists()]
    mounts = {folder: folder for folder in folders} | dict(_interpreter_mounts())
    mounts[f"{BOOT_FOLDER}/inside"] = str(Path(__file__).parent.parent / "inside")
    if packages:
        mounts[PACKAGES] = str(packages)
    return HostMounts(read_only=[(source, path) for path, source in sorted(mounts.items())], symlinks=links)


def _top_level_folders() -> list[Path]:
    """Return the existing ones of /bin, /lib and the like; on most systems they are links into /usr."""
    return [path for name in _PROGRAM_FOLDERS if (path := Path("/", name)).exists()]


def _interpreter_mounts() -> Iterator[tuple[str, str]]:
    """Yield (path inside, host path) of the virtual environment and its base installation, with and without links."""
    for prefix in dict.fromkeys((sys.base_prefix, sys.prefix)):
        if prefix == "/usr":
            continue
        folders = [f"{prefix}/{name}" for name in ("bin", "lib")] if prefix == "/usr/local" else [prefix]
        for folder in folders:
            resolved = str(Path(folder).resolve())
            yield folder, resolved
            yield resolved, resolved


_BOOT_CODE = (
    "import sys; sys.path.insert(0, sys.argv[1]); from inside import boot; "
    "sys.path.remove(sys.argv[1]); boot.main(int(sys.argv[2]))"
)
_PACKAGE_FOLDER = str(Path(__file__).parent.parent)
_SHARED_MEMORY_BYTES = 64 << 20
_WORK_BYTES = 64 << 20
_CHANNEL_BYTES = 1 << 20
_FIRST_UID = 1_900_000_000  # above all ranges in systemd's list of user ids


@dataclass(frozen=True)
class SandboxFolder:
    """Private folder of a sandbox on the host, and its unique number."""

    path: Path
    number: int

    @property
    def channel(self) -> Path:
        """Folder of the kernel's sockets. Used only by plain processes; other sandboxes have a file system for it."""
        return self.path / "c"

    @property
    def root(self) -> Path:
        """Empty folder to build the file system of the sandbox on."""
        return self.path / "root"

    @property
    def data(self) -> Path:
        """Files of the session. Used only by plain processes; other sandboxes have a file system for them."""
        return self.path / "data"


@dataclass(frozen=True)
class Launch:
    """Command and environment of the first process, and the configuration to send it."""

    argv: list[str]
    config: BootConfig
    env: dict[str, str]


def session_uid(kind: SandboxKind, number: int) -> int | None:
    """Return the user id of a session, or None if the session runs as the user of the server.

    Only root can give each session its own user, and a plain process needs to read the interpreter as that user.
    """
    if os.geteuid() != 0 or (kind is SandboxKind.PROCESS and not _interpreter_is_readable()):
        return None
    return _FIRST_UID + number % 100_000


def prepare_launch(
    kind: SandboxKind, settings: PoolSettings, mounts: HostMounts, folder: SandboxFolder, fd: int, key: str
) -> Launch:
    """Return how to start a sandbox of `kind` whose first process inherits the control socket `fd`.

    Raises:
        FileNotFoundError: The program that creates this kind of sandbox is not installed.
    """
    if kind is SandboxKind.BWRAP:
        return Launch(_bwrap_command(settings, mounts, fd), _boot_config(settings, folder, key), _environment())
    if kind is SandboxKind.UNSHARE:
        plan = Mounts(str(folder.root), mounts.read_only, mounts.symlinks, _writable_sizes(settings))
        config = _boot_config(settings, folder, key, plan)
        return Launch([*_unshare_command(), *_python_command(_PACKAGE_FOLDER, fd)], config, _environment())
    return Launch(_python_command(_PACKAGE_FOLDER, fd), _process_config(settings, folder, key), _environment())


def _python_command(boot_folder: str, fd: int) -> list[str]:
    return [sys.executable, "-I", "-c", _BOOT_CODE, boot_folder, str(fd)]


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}


def _find_program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise FileNotFoundError(f"{name} is not installed")
    return path


def _unshare_command() -> list[str]:
    namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child"]
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return [_find_program("unshare"), *user, *namespaces, "--"]


def _bwrap_command(settings: PoolSettings, mounts: HostMounts, fd: int) -> list[str]:
    argv = [_find_program("bwrap"), "--die-with-parent", "--as-pid-1", "--new-session"]
    argv += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    argv += ["--hostname", "session", "--cap-drop", "ALL"]
    if os.geteuid() == 0:
        argv += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP"]
    else:
        argv += ["--unshare-user", "--uid", "1000", "--gid", "1000"]
    argv += _create_parents([DATA, WORK, SCRATCH, CHANNEL])
    for path, size in _writable_sizes(settings):  # before the read-only mounts: the interpreter can be below these
        argv += _tmpfs_options(path, size)
    argv += _create_parents([path for _, path in mounts.read_only])
    for source, path in mounts.read_only:
        argv += ["--ro-bind", source, path]
    for target, path in mounts.symlinks:
        argv += ["--symlink", target, path]
    argv += ["--proc", "/proc", "--dev", "/dev"]
    argv += _tmpfs_options("/dev/shm", _SHARED_MEMORY_BYTES)  # noqa: S108 - inside the sandbox
    return [*argv, "--remount-ro", "/dev", "--remount-ro", "/", "--", *_python_command(BOOT_FOLDER, fd)]


def _tmpfs_options(path: str, size: int) -> list[str]:
    return ["--perms", "0777", "--size", str(size), "--tmpfs", path]


def _create_parents(paths: list[str]) -> list[str]:
    """Return options that create the parent folders of `paths`. By default, only bubblewrap's user could enter them."""
    parents = sorted({str(parent) for path in paths for parent in list(Path(path).parents)[:-1]})
    return [word for parent in parents for word in ("--perms", "0755", "--dir", parent)]


def _writable_sizes(settings: PoolSettings) -> list[tuple[str, int]]:
    """Return each folder that a session can write to, with its size in bytes."""
    data, scratch = settings.limits.data_bytes, settings.limits.scratch_bytes
    return [(DATA, data), (WORK, _WORK_BYTES), (SCRATCH, scratch), (CHANNEL, _CHANNEL_BYTES)]


def _boot_config(settings: PoolSettings, folder: SandboxFolder, key: str, mounts: Mounts | None = None) -> BootConfig:
    """Return the configuration of a sandbox with a private file system."""
    return BootConfig(
        data=DATA,
        work=WORK,
        scratch=SCRATCH,
        channel=CHANNEL,
        key=key,
        uid=session_uid(SandboxKind.BWRAP, folder.number),
        limits=_process_limits(settings),
        preload=list(settings.preload),
        packages=[PACKAGES] if settings.packages else [],
        startup_files=settings.restart_kernel,
        mounts=mounts,
    )


def _process_config(settings: PoolSettings, folder: SandboxFolder, key: str) -> BootConfig:
    """Return the configuration of a plain process: its paths are host paths."""
    return replace(
        _boot_config(settings, folder, key),
        data=str(folder.data),
        work=str(folder.data),
        scratch=str(folder.path / "tmp"),
        channel=str(folder.channel),
        uid=session_uid(SandboxKind.PROCESS, folder.number),
        packages=[str(settings.packages)] if settings.packages else [],
    )


def _interpreter_is_readable() -> bool:
    """Return whether other users can import from the folders of this interpreter."""
    prefixes = [Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix)]
    return all(folder.stat().st_mode & 0o001 for path in prefixes for folder in (path, *path.parents))


def _process_limits(settings: PoolSettings) -> Limits:
    limits = settings.limits
    return Limits(limits.address_space_bytes, limits.data_bytes, limits.max_processes, limits.max_open_files)
