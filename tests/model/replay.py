"""Replay of coroutines: which operations a program awaits next, given all responses so far.

A coroutine cannot be copied, but it can be replayed: with the same responses in the same order it reaches the same
point. So (program, responses) is its state, and the interleavings of real code form a graph that can be searched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

from pipeline.testing.store import Op, Response
from tests.model.fingerprint import fingerprint

# The number of an operation, its response, and the clock when it arrived.
Heard = tuple[int, Response, int]
History = tuple[Heard, ...]


@dataclass
class World:
    """Environment of a program: operations and responses, a clock that moves with the responses, and tokens."""

    name: str
    at: int = 0
    looked: bool = False
    asked: int = 0
    tokens: int = 0
    closing: bool = False
    waiting: dict[int, tuple[Op, asyncio.Future[Response]]] = field(default_factory=dict)

    async def ask(self, op: Op) -> Response:
        """Send an operation; the search decides when its response arrives."""
        if self.closing:
            raise asyncio.CancelledError
        number, self.asked = self.asked, self.asked + 1
        response: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.waiting[number] = (op, response)
        try:
            return await response
        finally:
            self.waiting.pop(number, None)

    @property
    def clock(self) -> int:
        """The time of the last response."""
        self.looked = True
        return self.at

    def token(self) -> str:
        """Return a unique token."""
        self.tokens += 1
        return f"{self.name}.{self.tokens}"


@dataclass(frozen=True)
class Outcome:
    """State of a program: its pending operations by number, or its end.

    `looked` is True if the program read the clock after the last response; otherwise the clock makes no difference.
    `print` is the fingerprint.
    """

    waiting: tuple[tuple[int, Op], ...]
    ended: bool
    looked: bool
    print: Any
    error: BaseException | None = None
    result: Any = None


# The world of the running program, for calls that the real code does not await, such as the time.
_now: list[World] = [World("none")]


def world() -> World:
    """Return the world of the running program."""
    return _now[0]


class Replayer:
    """Runs programs in an event loop of its own, in which no time passes."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> Self:
        """Use it in a `with` block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the loop."""
        self._loop.close()

    def run(self, name: str, program: Callable[[World], Awaitable[Any]], history: History, clock: int = 0) -> Outcome:
        """Return the state of a program after the responses of `history`. `clock` is its start time."""
        here = _now[0] = World(name, clock)

        async def whole() -> Any:
            return await program(here)

        task = self._loop.create_task(whole())
        try:
            self._settle()
            for number, response, at in history:
                here.at, here.looked = at, False
                here.waiting[number][1].set_result(response)
                self._settle()
            return self._outcome(here, task)
        finally:
            self._end(here)

    def _settle(self) -> None:
        """Run until every task awaits a response."""

        def look() -> None:
            if self._loop._ready:  # type: ignore[attr-defined]
                self._loop.call_soon(look)
            else:
                self._loop.stop()

        self._loop.call_soon(look)
        self._loop.run_forever()

    def _end(self, here: World) -> None:
        """Cancel all remaining tasks."""
        here.closing = True
        while tasks := asyncio.all_tasks(self._loop):
            for task in tasks:
                task.cancel()
            self._settle()

    def _outcome(self, here: World, task: asyncio.Task[Any]) -> Outcome:
        waiting = tuple((number, op) for number, (op, response) in sorted(here.waiting.items()) if not response.done())
        tasks = asyncio.all_tasks(self._loop)
        if not task.done():
            return Outcome(waiting, False, here.looked, fingerprint(tasks))
        error = task.exception()
        return Outcome(waiting, True, here.looked, repr(error), error, None if error else task.result())
