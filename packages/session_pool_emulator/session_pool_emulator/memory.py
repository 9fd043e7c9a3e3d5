"""How much memory the processes of a sandbox hold, looked up often and therefore cheaply."""

from __future__ import annotations

import os

from session_pool_emulator.inside.supervisor import descendants

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_THOROUGH_EVERY = 10


class MemoryMeter:
    """Measures everything below one process, that included.

    A process's children are listed by the thread that started them. Each look asks first threads only; every tenth look
    asks all of them, and what it finds is remembered until the next.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._looks = 0
        self._found: list[int] = []

    def measure(self, limit: int = 0) -> int:
        """Bytes held together. Exact only above `limit`, where it matters: below it, what processes share is counted
        for each, which is quicker to find out."""
        thorough = self._looks % _THOROUGH_EVERY == 0
        self._looks += 1
        processes = {self._pid, *descendants(self._pid, every_thread=thorough)}
        if thorough:
            self._found = list(processes)
        processes.update(self._found)
        rough = sum(map(_resident, processes))
        return rough if rough <= limit else sum(map(_proportional, processes))


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123 - ten times a second, and three times quicker
            return int(file.read().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0


def _proportional(pid: int) -> int:
    """Memory of one process, with its share of what it shares."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:  # noqa: PTH123
            return next(int(line.split()[1]) for line in file if line.startswith(b"Pss:")) * 1024
    except PermissionError:
        return _resident(pid)
    except (OSError, StopIteration):
        return 0
