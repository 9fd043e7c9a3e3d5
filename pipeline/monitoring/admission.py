"""State of the circuit breakers of this process, and the pauses of the installation, as plain data."""

from datetime import datetime
from typing import Self

from pipeline.jobs.circuit_breaker import BreakerState, CircuitBreaker, Dependency
from pipeline.jobs.pauses import PauseTimes, Work
from pipeline.monitoring.document import Document


class BreakerOverview(Document):
    """The circuit breaker of one dependency, in the process that responds."""

    dependency: Dependency
    state: BreakerState
    """While it is `open`, no job starts. While it is `half_open`, one job probes the service."""
    opened: datetime | None
    """Time at which it opened; null if it is closed."""
    reason: str | None
    """The fault that keeps it open, or null."""
    seconds_to_probe: float
    """Seconds until a job may start; 0 if one may start now."""

    @classmethod
    def of(cls, breaker: CircuitBreaker) -> Self:
        """Describe a breaker."""
        fault = breaker.last_fault
        return cls(
            dependency=breaker.dependency,
            state=breaker.state,
            opened=breaker.opened,
            reason=f"{fault.kind}: {fault.message}" if fault else None,
            seconds_to_probe=round(breaker.seconds_to_probe, 1),
        )


class PauseOverview(Document):
    """A pause that operators have made, for the whole installation."""

    work: Work
    """The jobs that do not start: those of `uploads`, of `requests`, or of `runs`."""
    since: datetime

    @classmethod
    def all_of(cls, times: PauseTimes) -> list[Self]:
        """Describe all pauses."""
        return [cls(work=work, since=since) for work, since in times.items()]
