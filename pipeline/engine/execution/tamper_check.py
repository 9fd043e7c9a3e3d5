"""Tamper check: detect changes that foreign code left in a session.

Images are data and run no code, unless a decoder has a vulnerability. Code that exploits one could also change this
module, so this check is not a security boundary. It detects leftovers in files, functions, threads and processes; the
host then discards the session. docs/security.md lists what it cannot detect.
"""

from __future__ import annotations

import hashlib
import os
import re
import site
import stat
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

HOST_FILE_NAMES = re.compile(r"(in|out|report|asset|engine)-[0-9a-z-]+(\.[a-z0-9.]+)?")
"""Names that the host gives to files."""

UPLOAD_GRACE_SECONDS = 120.0
"""The service may write an upload under a temporary name first, while another execution runs.

A plain file that was modified within this time is therefore ignored.
"""

IMPORTABLE_SUFFIXES = (".py", ".pyc", ".so", ".pth", ".zip")

ENGINE_ARCHIVE = re.compile(r"engine-[0-9a-f]+\.zip")
"""Name of the engine's archive. Modules are loaded from it at first use, so it must stay as it was."""

WATCHED_MODULES = ("json", "json.decoder", "zipimport", "PIL.Image", "PIL.ImageFile")
"""Modules that every job uses, besides the engine's own. Kernels change the builtins for their own purposes."""


_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of descendants whose parent has ended: the check then sees processes that detach themselves."""
    with suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class TamperCheck:
    """Compare a session with its state at the first job. Create it once per process, before any image is opened."""

    def __init__(self, place: Path) -> None:
        """Record the files and functions in and around the directory `place`."""
        self._place = place
        self._files = set(_unexpected_files(place))
        self._start_up_folders = _start_up_folders(place)
        self._start_up_files = set(self._list_start_up_files())
        self._functions: list[tuple[Mapping[str, Any], str, object]] = []
        self._modules: set[str] = set()
        self._archives: dict[str, tuple[int, bytes]] = {}
        self.before_execution()

    def before_execution(self) -> str:
        """Return the changes since the last execution in a few words; empty when there are none."""
        found = self._findings()
        self._record_functions()
        self._threads, self._child_processes = set(threading.enumerate()), _child_processes()
        return ", ".join(found)

    def after_execution(self) -> str:
        """Return the changes that the execution left behind; empty when there are none."""
        found = [
            *self._findings(),
            *(f"a thread {each.name!r}" for each in threading.enumerate() if each not in self._threads),
            *(f"a process {number}" for number in sorted(_child_processes() - self._child_processes)),
        ]
        return ", ".join(found[:5])

    def _findings(self) -> list[str]:
        """Return descriptions of unexpected files, changed archives and replaced functions, at most 5."""
        files = [f"a file {name!r}" for name in sorted(_unexpected_files(self._place)) if name not in self._files]
        files += [
            f"a start-up file {name!r}" for name in self._list_start_up_files() if name not in self._start_up_files
        ]
        files += [f"another content of {name}" for name in self._changed_archives()]
        others = [word for space, word, value in self._functions if space.get(word) is not value]
        return [*files, *(f"another {word}" for word in others)][:5]

    def _list_start_up_files(self) -> list[str]:
        """Return the files that Python or IPython would execute at the start of the next interpreter."""
        return [f"{folder}/{name}" for folder in self._start_up_folders for name in _importable_names(folder)]

    def _changed_archives(self) -> list[str]:
        """Return the archives of the engine whose content has changed. A file is read again only after a write."""
        changed = []
        for path in self._place.glob("engine-*.zip"):
            with suppress(OSError):
                written = path.lstat().st_ctime_ns
                known = self._archives.get(path.name)
                if ENGINE_ARCHIVE.fullmatch(path.name) and (known is None or known[0] != written):
                    digest = hashlib.sha256(path.read_bytes()).digest()
                    self._archives[path.name] = (written, known[1] if known else digest)
                    changed += [path.name] if known and known[1] != digest else []
        return changed

    def _record_functions(self) -> None:
        """Record the functions and classes of modules imported since the last call."""
        own = __name__.rsplit(".", 2)[0] + "."
        for name in sys.modules.keys() - self._modules:
            self._modules.add(name)
            if name in WATCHED_MODULES or name.startswith(own):
                for space in _namespaces(sys.modules[name]):
                    self._functions += [(space, word, value) for word, value in space.items() if callable(value)]


def _start_up_folders(place: Path) -> list[str]:
    """Return the folders, present or not, that the user of the session can put code for the next interpreter into."""
    ipython = os.environ.get("IPYTHONDIR") or os.path.expanduser("~/.ipython")  # noqa: PTH111 - no error without a home
    folders = {site.getusersitepackages(), f"{ipython}/profile_default/startup"}
    with suppress(OSError):
        folders.add(os.getcwd())  # noqa: PTH109
    return sorted(folders - {str(place)})


def _importable_names(folder: str) -> Iterator[str]:
    """Yield the names of modules, packages and `.pth` files in a folder."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(IMPORTABLE_SUFFIXES) or os.path.exists(f"{entry.path}/__init__.py"):  # noqa: PTH110
                yield entry.name


def _namespaces(module: ModuleType) -> Iterator[Mapping[str, Any]]:
    """Yield the namespaces that hold functions: that of the module, and those of its classes."""
    yield vars(module)
    yield from (
        vars(value)
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == module.__name__
    )


def _unexpected_files(place: Path) -> Iterator[str]:
    """Yield the names of files that are not plain files of the host, or that have hard links."""
    with os.scandir(place) as entries:
        for entry in entries:
            try:
                facts = entry.stat(follow_symlinks=False)
            except OSError:
                continue  # deleted in the meantime
            plain = stat.S_ISREG(facts.st_mode) and facts.st_nlink <= 1
            if plain and (HOST_FILE_NAMES.fullmatch(entry.name) or _may_be_upload(entry.name, facts.st_mtime)):
                continue
            yield entry.name


def _may_be_upload(name: str, written: float) -> bool:
    """Return True when the file may be an upload in progress."""
    return abs(time.time() - written) < UPLOAD_GRACE_SECONDS and not name.endswith(IMPORTABLE_SUFFIXES)


def _child_processes() -> set[int]:
    """Return the child processes of this process, as far as the system reports them."""
    found: set[int] = set()
    with suppress(OSError, ValueError):
        for task in Path("/proc/self/task").iterdir():
            found.update(map(int, (task / "children").read_text().split()))
    return found
