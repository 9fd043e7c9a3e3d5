"""What was found a moment ago: shown at once, and asked for again behind the page.

For figures that many look at and that nobody needs to the second. Those who look at a quiet moment wait for them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

from pipeline.errors import PipelineError
from pipeline.telemetry import logger

log = logger(__name__)
T = TypeVar("T")
FRESH = 4.0
"""Seconds for which something is taken as it is."""
STALE = 30.0
"""Seconds after which nobody is shown it any more."""


@dataclass
class _Found:
    value: Any
    at: float
    asking: asyncio.Task[None] | None = None


_found: WeakKeyDictionary[object, dict[str, _Found]] = WeakKeyDictionary()


async def lately(owner: object, name: str, ask: Callable[[], Awaitable[T]]) -> T:
    """What `ask` answers, or answered less than STALE seconds ago to the same name of the same owner."""
    kept = _found.setdefault(owner, {})
    found = kept.get(name)
    if found is None or time.monotonic() - found.at > STALE:
        kept[name] = found = _Found(await ask(), time.monotonic())
    elif time.monotonic() - found.at > FRESH:
        _ask_again(kept, name, ask)
    return cast("T", found.value)


def known(owner: object, name: str, ask: Callable[[], Awaitable[T]], every: float) -> T | None:
    """The last answer, however old, or None when there is none yet; asked for at most every so many seconds."""
    kept = _found.setdefault(owner, {})
    found = kept.setdefault(name, _Found(None, -every))
    if time.monotonic() - found.at > every:
        _ask_again(kept, name, ask)
    return cast("T | None", found.value)


def forget(owner: object) -> None:
    """Let whoever looks next wait for what is true now: something was changed here."""
    _found.pop(owner, None)


def _ask_again(kept: dict[str, _Found], name: str, ask: Callable[[], Awaitable[Any]]) -> None:
    """Ask behind the page, once at a time."""
    if kept[name].asking is None:
        kept[name].asking = asyncio.create_task(_asked(kept, name, ask), context=Context())


async def _asked(kept: dict[str, _Found], name: str, ask: Callable[[], Awaitable[Any]]) -> None:
    started = time.monotonic()
    try:
        kept[name] = _Found(await ask(), started)
    except PipelineError as error:
        log.info("%s cannot be told now: %s", name, error)
        kept.pop(name, None)
