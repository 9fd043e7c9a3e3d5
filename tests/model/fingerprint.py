"""Fingerprint of a suspended program: the positions of its coroutines, and the values that they can reach.

Two histories with the same fingerprint have the same future, so a search follows only one of them. Values outside of
variables, such as the iterator of a loop, are assumed to decide nothing: a test compares a search with fingerprints to
one without.
"""

from __future__ import annotations

import asyncio
import dataclasses
import types
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any

_SCALAR = frozenset({str, bytes, int, float, bool, type(None)})
_PLAIN = (str, bytes, int, float, bool, type(None), datetime, Enum)
# Types whose objects are equal for every worker at any time.
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
    "CircuitBreaker",
    "HeldBytes",
    "Semaphore",
    "finalize",
    "HASH",
)


Seen = dict[int, tuple[int, Any]]
Print = tuple[Any, ...]


def fingerprint(tasks: Iterable[asyncio.Task[Any]]) -> Print:
    """Return the fingerprint of all unfinished tasks."""
    seen: Seen = {}
    in_order = sorted(tasks, key=lambda task: int(task.get_name().rpartition("-")[2]))
    return tuple(_chain(task.get_coro(), seen) for task in in_order)


def _chain(coroutine: Any, seen: Seen) -> Print:
    """Return the frames of a coroutine and of all that it awaits."""
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
    names = of if all(isinstance(key, str) for key in of) else {repr(key): value for key, value in of.items()}
    return tuple((name, _value(names[name], seen)) for name in sorted(names))


def _value(value: Any, seen: Seen) -> Any:  # noqa: C901 - one line for each type
    kind = type(value)
    if kind in _SCALAR:
        return kind, value
    if isinstance(value, _PLAIN):
        return repr(value)
    name = kind.__name__
    if _is_constant(kind):
        return name
    if id(value) in seen:
        return seen[id(value)][0]
    # The reference keeps another object from getting this id meanwhile.
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


@cache
def _is_constant(kind: type) -> bool:
    """Return whether values of a type never differ: classes, functions, methods, and services."""
    descriptor = hasattr(kind, "__get__") and not hasattr(kind, "__set__")
    return kind.__name__ in _CONSTANT or issubclass(kind, (type, types.BuiltinFunctionType)) or descriptor


def _inside(value: Any, seen: Seen) -> Print:
    """Return the attributes of an object of this repository; nothing for objects of libraries."""
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
