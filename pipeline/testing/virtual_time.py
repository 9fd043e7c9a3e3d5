"""Virtual time: an event loop whose clock jumps to the next timer, so that hours pass in seconds."""

import asyncio
import time
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, TypeVar
from unittest.mock import patch

from typing_extensions import override

T = TypeVar("T")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits: when nothing is ready, it moves its clock to the next timer."""

    _now = 0.0
    _ready: Any
    _scheduled: Any

    @override
    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:
            self._now = max(self._now, self._scheduled[0].when())
        super()._run_once()  # type: ignore[misc]


@contextmanager
def _clocks(loop: VirtualTimeLoop) -> Iterator[None]:
    """Let `time.time`, `time.monotonic` and `time.perf_counter` follow the loop."""
    names = ("time", "monotonic", "perf_counter")
    starts = {name: getattr(time, name)() for name in names}
    with ExitStack() as stack:
        for name, start in starts.items():
            stack.enter_context(patch.object(time, name, partial(_later, loop, start)))
        yield


def _later(loop: VirtualTimeLoop, start: float) -> float:
    return start + loop.time()


def run_in_virtual_time(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time. It must wait for nothing but timers of its own loop."""
    loop = VirtualTimeLoop()
    with _clocks(loop):
        try:
            return loop.run_until_complete(work)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
