"""Helpers for concurrent work: gather with cancellation, background tasks, a budget of bytes."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context
from typing import Any, TypeVar

S = TypeVar("S")
T = TypeVar("T")


async def gather_or_cancel(*work: Coroutine[Any, Any, T]) -> list[T]:
    """Run coroutines concurrently and return their results in order.

    The first error cancels the rest and is raised as it is, without an exception group.
    """
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def map_concurrently(work: Callable[[S], Awaitable[T]], items: Sequence[S], limit: int) -> list[T]:
    """Call `work` with each item, at most `limit` calls at a time, and return the results in order.

    The first error cancels the rest and is raised as it is.
    """
    slots = asyncio.Semaphore(limit)

    async def one(item: S) -> T:
        async with slots:
            return await work(item)

    return await gather_or_cancel(*map(one, items))


class BackgroundTasks:
    """Set of background tasks that keeps each one alive until it ends."""

    def __init__(self) -> None:
        """Create an empty set."""
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task in an empty context, so that its logs and spans do not belong to the job that started it."""
        task = asyncio.create_task(work, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def cancel(self) -> None:
        """Cancel all tasks except the calling one, and wait for their end. So it does with tasks that these start."""
        while tasks := self._tasks - {asyncio.current_task()}:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class ByteBudget:
    """Budget of bytes that the concurrent work of a process may hold in memory. It refuses, and never waits."""

    def __init__(self, limit: int) -> None:
        """Create a budget of `limit` bytes."""
        self.limit = limit
        self.used = 0

    @contextmanager
    def reservation(self) -> Iterator["Reservation"]:
        """Yield a reservation of 0 bytes, which ends with the block."""
        reservation = Reservation(self)
        try:
            yield reservation
        finally:
            self.used -= reservation.size


class Reservation:
    """Bytes of a budget that one piece of work may hold."""

    def __init__(self, budget: ByteBudget) -> None:
        """Reserve nothing yet."""
        self._budget = budget
        self.size = 0

    def add(self, size: int) -> bool:
        """Reserve more bytes. Returns False if the budget is exhausted; work that runs alone gets any size."""
        others = self._budget.used - self.size
        if size and others and self._budget.used + size > self._budget.limit:
            return False
        self._budget.used += size
        self.size += size
        return True
