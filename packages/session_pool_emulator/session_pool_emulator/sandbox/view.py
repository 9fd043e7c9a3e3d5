"""What a session sees of the host, read-only: system libraries and programs, and the Python that runs the kernel."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

INSIDE = "/opt/session-pool"
PACKAGES = "/opt/packages"
DATA, WORK, SCRATCH, CHANNEL = "/mnt/data", "/app", "/tmp", "/run/session"  # noqa: S108 - paths inside a sandbox
_PROGRAMS = ("bin", "lib", "lib32", "lib64", "libx32")
_SYSTEM = (*(f"/usr/{name}" for name in _PROGRAMS), "/usr/share/fonts", "/usr/share/zoneinfo", "/usr/share/mime")
_CONFIGURATION = ("/etc/ld.so.cache", "/etc/fonts", "/etc/alternatives", "/etc/mime.types")


@dataclass(frozen=True)
class View:
    """Read-only (host path, path inside) pairs, parents first, and (target, path inside) symbolic links."""

    read_only: list[tuple[str, str]]
    symlinks: list[tuple[str, str]]


def host_view(packages: Path | None = None) -> View:
    """What this interpreter needs to run a kernel, the folder `packages`, and nothing else of this machine."""
    links = [(str(path.readlink()), str(path)) for path in _top_level() if path.is_symlink()]
    folders = [str(path) for path in _top_level() if not path.is_symlink()]
    folders += [path for path in (*_SYSTEM, *_CONFIGURATION) if Path(path).exists()]
    pairs = {folder: folder for folder in folders} | dict(_interpreter())
    pairs[f"{INSIDE}/inside"] = str(Path(__file__).parent.parent / "inside")
    if packages:
        pairs[PACKAGES] = str(packages)
    return View(read_only=[(source, path) for path, source in sorted(pairs.items())], symlinks=links)


def _top_level() -> list[Path]:
    return [path for name in _PROGRAMS if (path := Path("/", name)).exists()]


def _interpreter() -> Iterator[tuple[str, str]]:
    """(path inside, host path) of the virtual environment and of the installation below it, under all their names."""
    for prefix in dict.fromkeys((sys.base_prefix, sys.prefix)):
        if prefix == "/usr":
            continue
        parts = [f"{prefix}/{name}" for name in ("bin", "lib")] if prefix == "/usr/local" else [prefix]
        for part in parts:
            real = str(Path(part).resolve())
            yield part, real
            yield real, real
