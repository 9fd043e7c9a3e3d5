"""Admission: decide before a job starts if it may, by pauses, the minimum version and the circuit breakers."""

import random
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime

from pipeline.errors import JobPaused, TransientError
from pipeline.jobs.circuit_breaker import DEPENDENCIES, MAX_PAUSE_SECONDS, Attempt, CircuitBreaker, Dependency
from pipeline.jobs.pauses import Pauses, Work
from pipeline.storage import Message

MIN_PAUSE_SECONDS = 30.0


class Admission:
    """Admit jobs, and learn from their ends."""

    def __init__(
        self,
        pauses: Pauses,
        probe_interval: float,
        clock: Callable[[], float] = time.monotonic,
        cost_refusal: Callable[[], JobPaused | None] = lambda: None,
    ) -> None:
        """Create the breakers of this process. They first probe their services after `probe_interval` seconds.

        `cost_refusal` returns the reason why no session may start because of a cap on the cost.
        """
        self.pauses, self._cost_refusal = pauses, cost_refusal
        self.breakers: dict[str, CircuitBreaker] = {
            dependency: CircuitBreaker(dependency, probe_interval, clock) for dependency in DEPENDENCIES
        }

    async def refusal(
        self, work: Work, needs: Collection[Dependency] = DEPENDENCIES
    ) -> JobPaused | TransientError | None:
        """Return the reason for which no job may start now that `needs` these services; None if one may.

        An open breaker gives a fault of its service, with the fault that has opened it. The `retry_after` of both
        reasons is the pause of the job, at most 300 s. Open breakers come first: they need no call.
        """
        if fault := self._open_fault(needs):
            return fault
        since = (await self.pauses.current()).get(work)
        if outdated := await self.pauses.outdated():
            return JobPaused(outdated.message, MAX_PAUSE_SECONDS)
        # Another job may have become the probe meanwhile.
        if fault := self._open_fault(needs):
            return fault
        return paused_error(work, since) if since else self._cost_refusal()

    @asynccontextmanager
    async def admitted(
        self, work: Work, source: str, needs: Collection[Dependency] = DEPENDENCIES
    ) -> AsyncIterator[None]:
        """Run the body, the job of a source, if it may start, and let the breakers of the services know what it meets.

        Raises:
            JobPaused: Operators have paused this kind of work, or a cap on the cost is reached.
            TransientError: A breaker is open; or an error of the body.
        """
        if refusal := await self.refusal(work, needs):
            raise refusal
        attempt = Attempt()
        for dependency in needs:
            self.breakers[dependency].enter(attempt)
        try:
            yield
        except TransientError as error:
            if error.service:
                self.breakers[error.service].record_fault(attempt, source, error)
            raise
        else:
            if "storage" in needs:
                self.record_success("storage")
        finally:
            for breaker in self.breakers.values():
                breaker.leave(attempt)

    def _open_fault(self, needs: Collection[Dependency]) -> TransientError | None:
        """Return the fault that keeps a breaker of these services open; None if a job may start."""
        for breaker in (self.breakers[dependency] for dependency in needs):
            if breaker.seconds_to_probe and breaker.last_fault:
                fault = breaker.last_fault
                return TransientError(
                    f"{fault.message}; the circuit breaker of the {breaker.dependency} is open, so no job starts",
                    kind=fault.kind,
                    dependency=breaker.dependency,
                    retry_after=breaker.pause(),
                )
        return None

    def admitted_message(self, message: Message) -> AbstractAsyncContextManager[None]:
        """Run the body, the job of a message, as `admitted` does."""
        return self.admitted("requests" if message.requested else "uploads", f"{message.container}/{message.name}")

    def record_success(self, *dependencies: Dependency) -> None:
        """Note that services have worked for a job."""
        for dependency in dependencies:
            self.breakers[dependency].record_success()


def paused_error(work: Work, since: datetime) -> JobPaused:
    """Return the reason of a pause. Jobs return after half of its duration so far, or all of it, or in between."""
    lasted = (datetime.now(UTC) - since).total_seconds()
    delay = min(max(lasted, MIN_PAUSE_SECONDS), MAX_PAUSE_SECONDS) * random.uniform(0.5, 1)  # noqa: S311 - jitter
    return JobPaused(f"{work} are paused since {since:%Y-%m-%d %H:%M} UTC: `image-pipeline resume {work}`", delay)
