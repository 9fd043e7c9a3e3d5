"""What a suspended program still remembers: where each of its coroutines stands, and what they can reach from there.

Two histories that lead to the same fingerprint lead to the same future, so a search needs to follow only one of them.
That values outside of named variables (the iterator of a loop, say) decide nothing is checked by a test, which compares
a search with fingerprints to one without.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum
from typing import Any

_PLAIN = (str, bytes, int, float, bool, type(None), datetime, Enum)
# The same for every worker and at any time.
_CONSTANT = (
    "JobDispatcher",
    "JobExecutor",
    "OutcomeRecorder",
    "RecipeCatalog",
    "FakeRenderer",
    "Settings",
    "Recipe",
    "Recipes",
    "Clients",
    "World",
    "JobLogger",
    "LedgerQueries",
    "MetricsStore",
)


Seen = dict[int, tuple[int, Any]]
Print = tuple[Any, ...]


def fingerprint(tasks: Iterable[asyncio.Task[Any]]) -> Print:
    """Of everything that is still going on."""
    seen: Seen = {}
    in_order = sorted(tasks, key=lambda task: int(task.get_name().rpartition("-")[2]))
    return tuple(_chain(task.get_coro(), seen) for task in in_order)


def _chain(coroutine: Any, seen: Seen) -> Print:
    """A coroutine and what it waits for, down to the question."""
    parts: list[Any] = []
    while coroutine is not None:
        frame = _first(coroutine, "cr_frame", "gi_frame", "ag_frame")
        if frame is not None:
            parts += [frame.f_code.co_qualname, frame.f_lasti, _pairs(frame.f_locals, seen)]
        coroutine = _first(coroutine, "cr_await", "gi_yieldfrom", "ag_await")
    return tuple(parts)


def _first(of: Any, *names: str) -> Any:
    return next((value for name in names if (value := getattr(of, name, None)) is not None), None)


def _pairs(of: Mapping[Any, Any], seen: Seen) -> Print:
    return tuple((repr(key), _value(value, seen)) for key, value in sorted(of.items(), key=lambda pair: repr(pair[0])))


def _value(value: Any, seen: Seen) -> Any:  # noqa: C901 - one line for each kind of thing
    if isinstance(value, _PLAIN):
        return repr(value)
    name = type(value).__name__
    if name in _CONSTANT or inspect.isroutine(value) or isinstance(value, type):
        return name
    if id(value) in seen:
        return seen[id(value)][0]
    # Kept as well, so that no other object gets its id meanwhile.
    seen[id(value)] = (len(seen), value)
    if isinstance(value, asyncio.Future):
        return _future(value, seen)
    if isinstance(value, asyncio.Lock):
        return ("Lock", value.locked())
    if isinstance(value, BaseException):
        return (name, _value(value.args, seen))
    if isinstance(value, tuple | list | deque):
        return (name, *(_value(one, seen) for one in value))
    if isinstance(value, dict):
        return _pairs(value, seen)
    if isinstance(value, set | frozenset):
        return (name, *(_value(one, seen) for one in sorted(value, key=repr)))
    if isinstance(value, bytearray):
        return value.hex()
    return (name, _inside(value, seen))


def _inside(value: Any, seen: Seen) -> Print:
    """What an object of ours holds; nothing of other people's."""
    if dataclasses.is_dataclass(value):
        return _pairs({one.name: getattr(value, one.name) for one in dataclasses.fields(value)}, seen)
    ours = type(value).__module__.startswith(("pipeline.", "tests.model."))
    return _pairs(vars(value), seen) if ours and hasattr(value, "__dict__") else ()


def _future(value: asyncio.Future[Any], seen: Seen) -> Any:
    if not value.done():
        return "pending"
    if value.cancelled():
        return "cancelled"
    return ("done", _value(value.exception() or value.result(), seen))
