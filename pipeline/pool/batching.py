"""What waits for its turn in one session, and how much of it is done in one execution."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

from pipeline.engine.protocol import Job
from pipeline.errors import PipelineError, SessionLost, SessionReplyError
from pipeline.pool.report import RenditionFacts, SessionReport
from pipeline.settings import Settings

# The service's own limit on one execution.
LONGEST_RUN = 220
# A session whose run takes this many times as long as such runs did, and some seconds, is waited for no more.
PATIENCE_TIMES, PATIENCE_SECONDS = 3, 5.0
# What a run may take of which nobody knows how long it will.
UNKNOWN_SECONDS = 20.0


# Jobs that take less than this are outweighed by what an execution costs: a session that is free waits for more of
# them, for a moment. Both in seconds.
SHORT, LINGER = 0.02, 0.1

Estimate = Callable[[], float | None]
"""How many seconds a job will take, as far as is known when it is asked; None: nobody knows yet."""


def no_estimate() -> None:
    """No estimate."""


@dataclass(frozen=True)
class WorkItem:
    """A job that is to be run: at most `seconds`, and as long as its `estimate` says (see Estimate).

    `size` is that of its source in bytes, `rank` its place in the order of who goes first (0 is the front).
    """

    job: Job
    seconds: int
    estimate: Estimate = no_estimate
    size: int = 0
    rank: int = 1
    alone: bool = True


@dataclass(frozen=True)
class ExecutionResult:
    """What came of it: the execution's times, by `time.perf_counter`, and how many jobs it was for.

    `pack` holds small renditions of all of them, if it could be fetched.
    """

    report: SessionReport
    began: float
    ended: float
    jobs: int
    pack: bytes = b""

    def packed(self, facts: RenditionFacts) -> bytes | None:
        """A rendition out of the pack; None when it is not in there as it should be."""
        part = b"" if facts.at is None else self.pack[facts.at : facts.at + facts.size]
        return part if part and hashlib.sha256(part).hexdigest() == facts.sha256 else None


@dataclass(eq=False)
class PendingWork:
    """Work and its end."""

    work: WorkItem
    end: asyncio.Future[ExecutionResult] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class ExecutionBatcher:
    """The work whose sources are in the session already."""

    def __init__(self, most: BatchLimits) -> None:
        self._most = most
        self._waiting: list[PendingWork] = []

    def add(self, work: WorkItem) -> PendingWork:
        """Get in line, behind what goes first and what came before."""
        waiting = PendingWork(work)
        self._waiting.append(waiting)
        self._waiting.sort(key=lambda each: each.work.rank)
        return waiting

    @property
    def short(self) -> bool:
        """Whether the next job takes less than an execution costs by itself, and nobody waits for its answer."""
        first = self._waiting[0].work if self._waiting else None
        return first is not None and not first.alone and first.rank > 0 and (first.estimate() or inf) < SHORT

    def is_short_of(self, count: int) -> bool:
        """Whether it is worth a moment to wait for more jobs, until there are `count`."""
        room = len(self._waiting) < count and self.short
        return room and self._most.fits([each.work for each in self._waiting], self._waiting[0].work)

    def take(self, most: int | None = None) -> list[PendingWork]:
        """The next execution: the first in line, and of what fits in beside it, `most` in all. Empty: nothing waits."""
        self._waiting = [each for each in self._waiting if not each.end.done()]
        taken = self._waiting[:1]
        if taken and not taken[0].work.alone:
            for each in self._waiting[1:]:
                if len(taken) == most:
                    break
                if not each.work.alone and self._most.fits([other.work for other in taken], each.work):
                    taken.append(each)
        self._waiting = [each for each in self._waiting if each not in taken]
        return taken

    def leave(self) -> list[PendingWork]:
        """All that wait, who then wait no more."""
        left, self._waiting = self._waiting, []
        return left


@dataclass(frozen=True)
class BatchLimits:
    """How much one execution may take in: jobs, seconds, bytes."""

    jobs: int
    seconds: float
    size: int

    @classmethod
    def of(cls, settings: Settings) -> BatchLimits:
        """As the settings have it."""
        return cls(settings.microbatch_max_jobs, settings.microbatch_max_seconds, settings.microbatch_max_bytes)

    def scaled(self, number: int) -> BatchLimits:
        """What so many executions may take in together."""
        return BatchLimits(self.jobs * number, self.seconds * number, self.size * number)

    def fits(self, taken: Sequence[Sized], more: Sized) -> bool:
        """Whether `more` fits in. What nobody knows the length of fits in nowhere, and nothing beside it."""
        if len(taken) >= self.jobs or more.size + sum(each.size for each in taken) > self.size:
            return False
        estimates = [each.estimate() for each in (*taken, more)]
        known = [seconds for seconds in estimates if seconds is not None]
        return len(known) == len(estimates) and sum(known) <= self.seconds


class Sized(Protocol):
    """What takes time and bytes in a session."""

    @property
    def estimate(self) -> Estimate: ...

    @property
    def size(self) -> int: ...


def overdue_timeout(works: Sequence[Sized]) -> float:
    """How many seconds others wait behind the execution of these, before they look for another session."""
    estimates = [each.estimate() for each in works]
    known = [seconds for seconds in estimates if seconds is not None]
    expected = PATIENCE_TIMES * sum(known) if len(known) == len(estimates) else UNKNOWN_SECONDS
    return expected + PATIENCE_SECONDS


def failed(batch: list[PendingWork], error: PipelineError) -> None:
    """Tell all of them. Where several ran together, one of them broke it: each is to be tried by itself."""
    for each in batch:
        if not each.end.done():
            if len(batch) > 1 and isinstance(error, SessionReplyError):
                each.end.set_exception(SessionLost(error.message, kind="microbatch_interrupted"))
            else:
                each.end.set_exception(type(error)(error.message, kind=error.kind))


class DurationEstimator:
    """How long jobs took lately: by recipe, and by the size of the source to the next power of two."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, int], float] = {}

    def estimate(self, recipe: str, size: int) -> float | None:
        """Seconds that a job will take inside a session; None before there was one like it."""
        return self._seconds.get((recipe, size.bit_length()))

    def record(self, recipe: str, size: int, seconds: float) -> None:
        """Take in how long one took."""
        key = (recipe, size.bit_length())
        self._seconds[key] = 0.7 * self._seconds.get(key, seconds) + 0.3 * seconds
