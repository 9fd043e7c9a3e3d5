"""Files of the host that a session can read: system libraries, programs, and the Python that runs the kernel."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
