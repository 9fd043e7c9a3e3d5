"""Track in-flight invocations, so that a graceful shutdown can wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class InFlight:
    """The set of running tasks. A task continues when the coroutine that waits for it is cancelled."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task. The caller handles its result or error, unless the caller is cancelled first."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # mark as retrieved: asyncio warns otherwise when the caller was cancelled

    async def drain(self, grace: float) -> None:
        """Wait up to `grace` seconds for all tasks, then cancel the others and wait for them to end."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in (remaining := list(self._tasks)):
            task.cancel()
        await asyncio.gather(*remaining, return_exceptions=True)
