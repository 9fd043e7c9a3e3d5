"""Microbatches: several small jobs in one execution, chosen by limits and by the moving average of durations."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from math import inf
from typing import Protocol, Self

from pipeline.engine.protocol import Job
from pipeline.errors import PipelineError, SessionLost, SessionReplyError
from pipeline.pool.report import RenditionFacts, SessionReport
from pipeline.settings import Settings

# The service's limit on the duration of one execution.
MAX_EXECUTION_SECONDS = 220
# Other jobs leave a session whose execution takes longer than this factor times its estimate, plus this margin.
OVERDUE_FACTOR, OVERDUE_MARGIN_SECONDS = 3, 5.0
# Assumed duration of an execution without an estimate.
UNKNOWN_EXECUTION_SECONDS = 20.0
# Jobs shorter than this cost less than the overhead of an execution, so a free session waits a moment for more of them.
SHORT_JOB_SECONDS, MICROBATCH_WAIT_SECONDS = 0.02, 0.1

Estimate = Callable[[], float | None]
"""Returns the expected seconds of a job inside a session, as known at the time of the call; None: no estimate."""


def no_estimate() -> None:
    """Return no estimate."""


@dataclass(frozen=True)
class WorkItem:
    """Job to execute.

    Attributes:
        job: Document for the engine.
        timeout: Limit on its duration in seconds.
        estimate: Returns its expected duration.
        size: Size of its source in bytes.
        rank: Priority; 0 goes first.
        exclusive: Whether it must have an execution for itself.
    """

    job: Job
    timeout: int
    estimate: Estimate = no_estimate
    size: int = 0
    rank: int = 1
    exclusive: bool = True


@dataclass(frozen=True)
class ExecutionResult:
    """Result of one job's execution.

    Attributes:
        report: The session's report on the job.
        started: Start of the execution, by `time.perf_counter`.
        ended: End of the execution, by `time.perf_counter`.
        jobs: Number of jobs in the execution.
        pack: Small renditions of all these jobs; empty when there are none or the download failed.
    """

    report: SessionReport
    started: float
    ended: float
    jobs: int
    pack: bytes = b""

    def packed(self, facts: RenditionFacts) -> bytes | None:
        """Return a rendition from the pack, or None when the pack does not hold it with the reported checksum."""
        part = b"" if facts.offset is None else self.pack[facts.offset : facts.offset + facts.size]
        return part if part and hashlib.sha256(part).hexdigest() == facts.sha256 else None


@dataclass(eq=False)
class PendingWork:
    """Work item that waits for its result."""

    item: WorkItem
    result: asyncio.Future[ExecutionResult] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Sized(Protocol):
    """Job that takes time and bytes in a session."""

    @property
    def estimate(self) -> Estimate:
        """Return a function that estimates the duration in seconds."""

    @property
    def size(self) -> int:
        """Size of the source in bytes."""


@dataclass(frozen=True)
class BatchLimits:
    """Limits of one microbatch: jobs, seconds, and bytes of their sources."""

    jobs: int
    seconds: float
    size: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the limits from the settings."""
        return cls(settings.microbatch_max_jobs, settings.microbatch_max_seconds, settings.microbatch_max_bytes)

    def scaled(self, number: int) -> Self:
        """Return the limits of `number` executions together."""
        return type(self)(self.jobs * number, self.seconds * number, self.size * number)

    def fits(self, taken: Sequence[Sized], more: Sized) -> bool:
        """Return whether `more` fits in addition to `taken`. Jobs without an estimate are never batched."""
        if len(taken) >= self.jobs or more.size + sum(each.size for each in taken) > self.size:
            return False
        total = _total_estimate((*taken, more))
        return total is not None and total <= self.seconds


class ExecutionBatcher:
    """Queue of the jobs whose sources are in the session; it forms the microbatches."""

    def __init__(self, limits: BatchLimits) -> None:
        """Create an empty queue whose microbatches stay within `limits`."""
        self._limits = limits
        self._pending: list[PendingWork] = []

    def add(self, item: WorkItem) -> PendingWork:
        """Queue a work item behind those of the same or a more urgent rank."""
        pending = PendingWork(item)
        self._pending.append(pending)
        self._pending.sort(key=lambda each: each.item.rank)
        return pending

    @property
    def next_is_short(self) -> bool:
        """Return whether the next job takes less than an execution's overhead and no user waits for its response."""
        first = self._pending[0].item if self._pending else None
        return (
            first is not None
            and not first.exclusive
            and first.rank > 0
            and (first.estimate() or inf) < SHORT_JOB_SECONDS
        )

    def should_wait_for_more(self, count: int) -> bool:
        """Return whether to wait a moment until `count` jobs are queued."""
        return (
            len(self._pending) < count
            and self.next_is_short
            and self._limits.fits([each.item for each in self._pending], self._pending[0].item)
        )

    def take(self, limit: int | None = None) -> list[PendingWork]:
        """Remove and return the next microbatch: the first job, and the queued jobs that fit into the same execution.

        Args:
            limit: Number of jobs at most.

        Returns:
            The jobs; empty when none waits.
        """
        self._pending = [each for each in self._pending if not each.result.done()]
        taken = self._pending[:1]
        if taken and not taken[0].item.exclusive:
            for each in self._pending[1:]:
                if len(taken) == limit:
                    break
                if not each.item.exclusive and self._limits.fits([other.item for other in taken], each.item):
                    taken.append(each)
        self._pending = [each for each in self._pending if each not in taken]
        return taken

    def take_all(self) -> list[PendingWork]:
        """Remove and return all jobs."""
        taken, self._pending = self._pending, []
        return taken


def _total_estimate(jobs: Sequence[Sized]) -> float | None:
    """Return the estimated seconds of all jobs, or None when one of them has no estimate."""
    estimates = [each.estimate() for each in jobs]
    known = [seconds for seconds in estimates if seconds is not None]
    return sum(known) if len(known) == len(estimates) else None


def overdue_timeout(items: Sequence[Sized]) -> float:
    """Return how many seconds other jobs wait for the execution of these, before they look for another session."""
    total = _total_estimate(items)
    return (UNKNOWN_EXECUTION_SECONDS if total is None else OVERDUE_FACTOR * total) + OVERDUE_MARGIN_SECONDS


def fail_all(batch: list[PendingWork], error: PipelineError) -> None:
    """Fail the jobs of a microbatch.

    Where several jobs share an unusable reply, any of them may have caused it. They fail with SessionLost, so that each
    is tried alone and only the cause fails for good.
    """
    for each in batch:
        if not each.result.done():
            if len(batch) > 1 and isinstance(error, SessionReplyError):
                each.result.set_exception(SessionLost(error.message, kind="microbatch_interrupted"))
            else:
                own = copy(error)
                # The output of several jobs belongs to none of them alone.
                own.stderr_tail = error.stderr_tail if len(batch) == 1 else ""
                each.result.set_exception(own)


class DurationEstimator:
    """Moving average of job durations, by recipe and by source size rounded up to a power of two."""

    def __init__(self) -> None:
        """Create an estimator without records."""
        self._seconds: dict[tuple[str, int], float] = {}

    def estimate(self, recipe: str, size: int) -> float | None:
        """Return the expected seconds of a job inside a session, or None before the first similar job.

        Args:
            recipe: Name of the recipe.
            size: Size of the source in bytes.
        """
        return self._seconds.get((recipe, size.bit_length()))

    def record(self, recipe: str, size: int, seconds: float) -> None:
        """Record a duration. The new value weighs 0.3, the moving average before it 0.7."""
        key = (recipe, size.bit_length())
        self._seconds[key] = 0.7 * self._seconds.get(key, seconds) + 0.3 * seconds
