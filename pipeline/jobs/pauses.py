"""Pauses: operators stop the start of jobs by the kind of work, for the whole installation.

One document in the table of runs holds them. Each process reads it at most every 20 s.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from math import inf
from typing import Literal, get_args

from pipeline.errors import PipelineError
from pipeline.storage import RunStore
from pipeline.telemetry import logger

log = logger(__name__)
Work = Literal["uploads", "requests", "runs"]
WORK: tuple[Work, ...] = get_args(Work)
CACHE_SECONDS = 20.0
# All jobs wait for the read. When storage does not respond, they should find that out by themselves.
READ_TIMEOUT_SECONDS = 5.0
_KIND: Literal["pauses"] = "pauses"
_KEY = "current"

PauseTimes = Mapping[Work, datetime]
"""The start of each pause, by the kind of work that it stops."""


class Pauses:
    """Read and change the pauses. `clock` returns seconds."""

    def __init__(self, store: RunStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._cached: PauseTimes = {}
        self._read_at = -inf
        self._lock = asyncio.Lock()

    async def current(self) -> PauseTimes:
        """Return the pauses from a cache of at most 20 s.

        While storage does not respond, the last known pauses hold: a job then meets that fault by itself.
        """
        async with self._lock:
            if self._clock() - self._read_at > CACHE_SECONDS:
                try:
                    async with asyncio.timeout(READ_TIMEOUT_SECONDS):
                        document = await self._store.get(_KIND, _KEY)
                except (PipelineError, TimeoutError) as error:
                    log.warning("the pauses cannot be read now: %s", error, extra={"event": "pauses.unreadable"})
                else:
                    self._cached = _times(document.content if document else {})
                self._read_at = self._clock()
            return self._cached

    async def pause(self, work: Collection[Work]) -> PauseTimes:
        """Pause kinds of work. A kind that is paused already keeps the start of its pause. Returns all pauses."""
        now = datetime.now(UTC).replace(microsecond=0)
        return await self._change(lambda times: {**dict.fromkeys(work, now), **times})

    async def resume(self, work: Collection[Work]) -> PauseTimes:
        """End pauses. Returns those that remain."""
        return await self._change(lambda times: {each: at for each, at in times.items() if each not in work})

    async def _change(self, change: Callable[[PauseTimes], PauseTimes]) -> PauseTimes:
        """Replace the document by optimistic concurrency; this process knows the change at once."""
        while True:
            before = await self._store.get(_KIND, _KEY)
            changed = change(_times(before.content if before else {}))
            times = {each: changed[each] for each in WORK if each in changed}
            content: dict[str, str] = {each: since.isoformat() for each, since in times.items()}
            written = await (
                self._store.replace(_KIND, _KEY, before, content)
                if before
                else self._store.create(_KIND, _KEY, content)
            )
            if written:
                self._cached, self._read_at = times, self._clock()
                log.info("paused: %s", ", ".join(content) or "nothing", extra={"event": "pauses.changed"})
                return times


def _times(content: Mapping[str, str]) -> PauseTimes:
    return {each: datetime.fromisoformat(content[each]) for each in WORK if each in content}
