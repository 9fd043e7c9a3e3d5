"""What a suspended program still remembers: where each of its coroutines stands, and what they can reach from there.

Two histories that lead to the same fingerprint lead to the same future, so a search needs to follow only one of them.
That values outside of named variables (the iterator of a loop, say) decide nothing is checked by a test, which compares
a search with fingerprints to one without.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from collections.abc import Iterable
from datetime import datetime
from enum import Enum
from typing import Any

_PLAIN = (str, bytes, int, float, bool, type(None), datetime, Enum)
# The same for every worker and at any time.
_CONSTANT = ("Services", "Settings", "Recipe", "Recipes", "Clients", "World", "JobLogger", "Listing", "Stats")


def fingerprint(tasks: Iterable[asyncio.Task[Any]]) -> str:
    """Of everything that is still going on."""
    return repr(sorted(_chain(task.get_coro(), ()) for task in tasks))


def _chain(coroutine: Any, seen: tuple[int, ...]) -> str:
    """A coroutine and what it waits for, down to the question."""
    parts = []
    while coroutine is not None:
        frame = _first(coroutine, "cr_frame", "gi_frame", "ag_frame")
        if frame is not None:
            known = sorted((name, _value(value, seen)) for name, value in frame.f_locals.items())
            parts.append((frame.f_code.co_qualname, frame.f_lasti, known))
        coroutine = _first(coroutine, "cr_await", "gi_yieldfrom", "ag_await")
    return repr(parts)


def _first(of: Any, *names: str) -> Any:
    return next((value for name in names if (value := getattr(of, name, None)) is not None), None)


def _value(value: Any, seen: tuple[int, ...]) -> str:  # noqa: C901 - one line for each kind of thing
    if isinstance(value, _PLAIN):
        return repr(value)
    name = type(value).__name__
    if id(value) in seen or name in _CONSTANT or inspect.isroutine(value) or isinstance(value, type):
        return name
    seen = (*seen, id(value))
    if isinstance(value, asyncio.Future):
        return _future(value, seen)
    if isinstance(value, asyncio.Lock):
        return f"Lock({value.locked()})"
    if isinstance(value, BaseException):
        return f"{name}{_value(value.args, seen)}"
    if isinstance(value, tuple | list):
        return f"{name}{[_value(one, seen) for one in value]}"
    if isinstance(value, dict):
        return repr(sorted((repr(key), _value(one, seen)) for key, one in value.items()))
    if isinstance(value, set | frozenset):
        return repr(sorted(_value(one, seen) for one in value))
    if dataclasses.is_dataclass(value):
        return f"{name}{[(one.name, _value(getattr(value, one.name), seen)) for one in dataclasses.fields(value)]}"
    if type(value).__module__.startswith(("pipeline.", "tests.model.")) and hasattr(value, "__dict__"):
        return f"{name}{_value(vars(value), seen)}"
    return bytes(value).hex() if isinstance(value, bytearray) else name


def _future(value: asyncio.Future[Any], seen: tuple[int, ...]) -> str:
    if not value.done():
        return "pending"
    if value.cancelled():
        return "cancelled"
    return f"done {_value(value.exception() or value.result(), seen)}"
