"""Stale-while-revalidate cache for figures that many viewers load."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from pipeline.errors import PipelineError
from pipeline.telemetry import logger

log = logger(__name__)
T = TypeVar("T")
FRESH_SECONDS = 4.0
"""Up to this age, a value is returned without a refresh."""
MAX_STALE_SECONDS = 30.0
"""Up to this age, a value is returned while a refresh runs in the background; older values are not returned."""


@dataclass
class _CacheEntry:
    value: Any
    loaded_at: float
    refresh: asyncio.Task[None] | None = None

    @property
    def age_seconds(self) -> float:
        return time.monotonic() - self.loaded_at


class SWRCache:
    """Stale-while-revalidate cache: return an old value at once, and refresh it in the background.

    Only the first viewer after a quiet period waits for the figures.
    """

    def __init__(self) -> None:
        """Create an empty cache."""
        self._entries: dict[str, _CacheEntry] = {}

    async def get(self, key: str, load: Callable[[], Awaitable[T]]) -> T:
        """Return the value of `key`. Waits for `load` only if no value of the last MAX_STALE_SECONDS is cached."""
        entries = self._entries
        entry = entries.get(key)
        if entry is None or entry.age_seconds > MAX_STALE_SECONDS:
            entries[key] = entry = _CacheEntry(await load(), time.monotonic())
        elif entry.age_seconds > FRESH_SECONDS:
            _revalidate(entries, key, load)
        return cast("T", entry.value)

    def peek(self, key: str, load: Callable[[], Awaitable[T]], interval_seconds: float) -> T | None:
        """Return the value of `key` at any age, or None before the first one. Never waits for `load`.

        `load` runs in the background, at most once per interval.
        """
        entry = self._entries.setdefault(key, _CacheEntry(None, -interval_seconds))
        if entry.age_seconds > interval_seconds:
            _revalidate(self._entries, key, load)
        return cast("T | None", entry.value)

    def invalidate(self) -> None:
        """Forget all values, because a user has changed something. A refresh that is in progress stores nothing."""
        self._entries = {}


def _revalidate(entries: dict[str, _CacheEntry], key: str, load: Callable[[], Awaitable[Any]]) -> None:
    """Refresh a value in the background, unless a refresh is in progress."""
    if entries[key].refresh is None:
        # The empty context detaches the refresh from the trace of this request.
        entries[key].refresh = asyncio.create_task(_refresh(entries, key, load), context=Context())


async def _refresh(entries: dict[str, _CacheEntry], key: str, load: Callable[[], Awaitable[Any]]) -> None:
    started = time.monotonic()
    try:
        entries[key] = _CacheEntry(await load(), started)
    except PipelineError as error:
        log.info("cannot refresh %s: %s", key, error, extra={"event": "console.refresh_failed"})
        entries.pop(key, None)
