"""Pauses: operators stop the start of jobs by the kind of work, for the whole installation.

One document in the table of runs holds them, and the minimum version: an instance of an older version of the app starts
nothing. Each process reads the document at most every 20 s.
"""

import asyncio
import re
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from math import inf
from typing import Any, Literal, get_args

from pipeline import __version__
from pipeline.errors import OutdatedDeployment, PipelineError, RequestError
from pipeline.storage import Document, RunStore
from pipeline.telemetry import logger

log = logger(__name__)
Work = Literal["uploads", "requests", "runs"]
WORK: tuple[Work, ...] = get_args(Work)
CACHE_SECONDS = 20.0
# All jobs wait for the read. When storage does not respond, they should find that out by themselves.
READ_TIMEOUT_SECONDS = 5.0
_KIND: Literal["pauses"] = "pauses"
_KEY = "current"
_MINIMUM_VERSION = "minimum_version"
UNKNOWN_START = datetime(2000, 1, 1, tzinfo=UTC)

PauseTimes = Mapping[Work, datetime]
"""The start of each pause, by the kind of work that it stops."""


class Pauses:
    """Read and change the pauses and the minimum version.

    `clock` returns seconds, and `version` is the version of the app in this process.
    """

    def __init__(
        self, store: RunStore, clock: Callable[[], float] = time.monotonic, version: str = __version__
    ) -> None:
        self._store, self._clock, self._version = store, clock, version
        self._cached: PauseTimes = {}
        self._minimum = ""
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
                    content = document.content if document else {}
                    self._cached, self._minimum = _times(content), str(content.get(_MINIMUM_VERSION, ""))
                    if outdated := self._outdated():
                        log.error("%s", outdated, extra={"event": "app.outdated"})
                self._read_at = self._clock()
            return self._cached

    async def outdated(self) -> OutdatedDeployment | None:
        """Return the reason why this process may start nothing: its version is below the minimum. None if it may."""
        await self.current()
        return self._outdated()

    async def ensure_version(self) -> None:
        """Raise OutdatedDeployment if the version of this process is below the minimum."""
        if outdated := await self.outdated():
            raise outdated

    async def minimum_version(self) -> str:
        """Return the minimum version; empty if there is none."""
        await self.current()
        return self._minimum

    async def raise_minimum_version(self, version: str) -> None:
        """Store the minimum version. Raises RequestError for a lower one, or for one above that of this process."""
        if not re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", version) or _numbers(version) > _numbers(self._version):
            raise RequestError(
                f"{version!r} is no version up to {self._version}, that of this program: deploy a newer version first",
                kind="other_version",
            )
        while True:
            before = await self._store.get(_KIND, _KEY)
            content = dict(before.content) if before else {}
            stored = str(content.get(_MINIMUM_VERSION, ""))
            if _numbers(version) < _numbers(stored):
                raise RequestError(
                    f"the minimum version is {stored} already, and never falls: data of that version are stored",
                    kind="other_version",
                )
            if await self._write(before, {**content, _MINIMUM_VERSION: version}):
                self._minimum = version
                log.warning("the minimum version is %s", version, extra={"event": "app.minimum_version_raised"})
                return

    def _outdated(self) -> OutdatedDeployment | None:
        if _numbers(self._version) >= _numbers(self._minimum):
            return None
        return OutdatedDeployment(
            f"this instance has version {self._version} of the app, below the minimum version {self._minimum}, and "
            f"starts nothing: deploy version {self._minimum} or a newer one"
        )

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
            others = {name: value for name, value in (before.content if before else {}).items() if name not in WORK}
            if await self._write(before, {**others, **{each: since.isoformat() for each, since in times.items()}}):
                self._cached, self._read_at = times, self._clock()
                log.info("paused: %s", ", ".join(times) or "nothing", extra={"event": "pauses.changed"})
                return times

    async def _write(self, before: Document | None, content: dict[str, str]) -> Document | None:
        """Replace the document, or create it; None if another process was faster."""
        if before:
            return await self._store.replace(_KIND, _KEY, before, content)
        return await self._store.create(_KIND, _KEY, content)


def _times(content: Mapping[str, Any]) -> PauseTimes:
    return {each: _start(content[each]) for each in WORK if each in content}


def _start(text: Any) -> datetime:  # noqa: ANN401 - JSON
    """Return the start of a pause. After an edit by hand it may be unknown; the pause holds all the same."""
    try:
        start = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return UNKNOWN_START
    return start if start.tzinfo else start.replace(tzinfo=UTC)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall("[0-9]+", version)[:3]))
