"""Real coroutines as functions: what a program asks for next, given the answers that it had so far.

A coroutine cannot be copied, but it can be run again. Run with the same answers in the same order it comes to the same
point, so (program, answers) *is* its state: that makes interleavings of real code a graph that can be searched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

from pipeline.testing.store import Op, Response
from tests.model.fingerprint import fingerprint

# Which question, what the answer was, and the clock when it came.
Heard = tuple[int, Response, int]
History = tuple[Heard, ...]


@dataclass
class World:
    """What a program has of the outside: questions and answers, a clock that moves with the answers, its own tokens."""

    name: str
    at: int = 0
    looked: bool = False
    asked: int = 0
    tokens: int = 0
    closing: bool = False
    waiting: dict[int, tuple[Op, asyncio.Future[Response]]] = field(default_factory=dict)

    async def ask(self, op: Op) -> Response:
        """Put a question; the answer comes when the search says so."""
        if self.closing:
            raise asyncio.CancelledError
        number, self.asked = self.asked, self.asked + 1
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.waiting[number] = (op, answer)
        try:
            return await answer
        finally:
            self.waiting.pop(number, None)

    @property
    def clock(self) -> int:
        """The time when the last answer came."""
        self.looked = True
        return self.at

    def token(self) -> str:
        """What nobody else has."""
        self.tokens += 1
        return f"{self.name}.{self.tokens}"


@dataclass(frozen=True)
class Outcome:
    """Where a program is: the questions that wait, by number, or its end.

    `looked` says whether it looked at the clock after the last answer; when not, that clock makes no difference.
    `print` tells it from any other place that it could be at.
    """

    waiting: tuple[tuple[int, Op], ...]
    ended: bool
    looked: bool
    print: Any
    error: BaseException | None = None
    result: Any = None


# The world of whoever runs at the moment: for what the real code asks without awaiting, such as the time.
_now: list[World] = [World("nobody")]


def world() -> World:
    """The world of the running program."""
    return _now[0]


class Replayer:
    """Runs programs in one event loop of its own, in which no time passes."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> Self:
        """For the length of a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the loop."""
        self._loop.close()

    def run(self, name: str, program: Callable[[World], Awaitable[Any]], history: History, clock: int = 0) -> Outcome:
        """Where `program` is once it has heard all that. `clock` is when it began."""
        here = _now[0] = World(name, clock)

        async def whole() -> Any:
            return await program(here)

        task = self._loop.create_task(whole())
        try:
            self._settle()
            for number, answer, at in history:
                here.at, here.looked = at, False
                here.waiting[number][1].set_result(answer)
                self._settle()
            return self._outcome(here, task)
        finally:
            self._end(here)

    def _settle(self) -> None:
        """Run until nothing can go on without an answer."""

        def look() -> None:
            if self._loop._ready:  # type: ignore[attr-defined]
                self._loop.call_soon(look)
            else:
                self._loop.stop()

        self._loop.call_soon(look)
        self._loop.run_forever()

    def _end(self, here: World) -> None:
        """Whatever is still there comes to nothing."""
        here.closing = True
        while tasks := asyncio.all_tasks(self._loop):
            for task in tasks:
                task.cancel()
            self._settle()

    def _outcome(self, here: World, task: asyncio.Task[Any]) -> Outcome:
        waiting = tuple((number, op) for number, (op, answer) in sorted(here.waiting.items()) if not answer.done())
        tasks = asyncio.all_tasks(self._loop)
        if not task.done():
            return Outcome(waiting, False, here.looked, fingerprint(tasks))
        error = task.exception()
        return Outcome(waiting, True, here.looked, repr(error), error, None if error else task.result())
