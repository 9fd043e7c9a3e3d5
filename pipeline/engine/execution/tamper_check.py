"""Whether a session still is as its first job found it. What differs says that somebody else's code has run in it.

Images are data and run no code, unless a decoder has a hole. Code that got in through one could change this module as
well: this is no wall. It finds what such code leaves behind in files, functions, threads and processes, and then the
host gives the session up. What it cannot find is in docs/security.md.
"""

from __future__ import annotations

import os
import re
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
"""The names that the host gives to files."""

UPLOAD_GRACE_SECONDS = 120.0
"""Whoever serves the session may write an upload under a name of its own first, beside a run that goes on: a plain
file that was written to in the last so many seconds is none of our business yet."""

IMPORTABLE_SUFFIXES = (".py", ".pyc", ".so", ".pth", ".zip")

WATCHED_MODULES = ("json", "json.decoder", "zipimport", "PIL.Image", "PIL.ImageFile")
"""Modules that every job goes through, besides the engine's own. Kernels change the builtins for ends of their own."""


class TamperCheck:
    """What there was at first, and what came since. Made once per process, before any image is opened."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._files = set(_unexpected_files(place))
        self._functions: list[tuple[Mapping[str, Any], str, object]] = []
        self._modules: set[str] = set()
        self.before_execution()

    def before_execution(self) -> str:
        """A run begins: what is not as it was before the first one, in a few words; nothing when all is well."""
        found = self._findings()
        self._record_functions()
        self._threads, self._child_processes = set(threading.enumerate()), _child_processes()
        return ", ".join(found)

    def after_execution(self) -> str:
        """A run ends: what it leaves behind that it should not."""
        found = [
            *self._findings(),
            *(f"a thread {each.name!r}" for each in threading.enumerate() if each not in self._threads),
            *(f"a process {number}" for number in sorted(_child_processes() - self._child_processes)),
        ]
        return ", ".join(found[:5])

    def _findings(self) -> list[str]:
        files = [f"a file {name!r}" for name in sorted(_unexpected_files(self._place)) if name not in self._files]
        others = [word for space, word, value in self._functions if space.get(word) is not value]
        return [*files, *(f"another {word}" for word in others)][:5]

    def _record_functions(self) -> None:
        """Remember the functions and classes of modules that were not there the last time."""
        own = __name__.rsplit(".", 2)[0] + "."
        for name in sys.modules.keys() - self._modules:
            self._modules.add(name)
            if name in WATCHED_MODULES or name.startswith(own):
                for space in _namespaces(sys.modules[name]):
                    self._functions += [(space, word, value) for word, value in space.items() if callable(value)]


def _namespaces(module: ModuleType) -> Iterator[Mapping[str, Any]]:
    """Where functions are found by their names: in the module, and in each of its classes."""
    yield vars(module)
    yield from (
        vars(value)
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == module.__name__
    )


def _unexpected_files(place: Path) -> Iterator[str]:
    """What is no plain file with a name of the host's and no second name elsewhere."""
    with os.scandir(place) as entries:
        for entry in entries:
            try:
                facts = entry.stat(follow_symlinks=False)
            except OSError:
                continue  # it went just now
            plain = stat.S_ISREG(facts.st_mode) and facts.st_nlink <= 1
            if plain and (HOST_FILE_NAMES.fullmatch(entry.name) or _may_be_upload(entry.name, facts.st_mtime)):
                continue
            yield entry.name


def _may_be_upload(name: str, written: float) -> bool:
    """Whether it may be an upload under way."""
    return abs(time.time() - written) < UPLOAD_GRACE_SECONDS and not name.endswith(IMPORTABLE_SUFFIXES)


def _child_processes() -> set[int]:
    """The processes that this one has started, as far as the system tells."""
    found: set[int] = set()
    with suppress(OSError, ValueError):
        for task in Path("/proc/self/task").iterdir():
            found.update(map(int, (task / "children").read_text().split()))
    return found
