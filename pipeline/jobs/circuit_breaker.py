"""Circuit breakers: start no jobs while a service is down, and let single jobs find out when it is back.

Each process has one breaker per dependency. A breaker opens when jobs of several sources in a row met a fault of the
service, so that one image can never open it. While it is open, jobs go back to their queues before they call anything.
From time to time the breaker is half open: one job starts as a probe. The first success closes the breaker.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from pipeline.errors import TransientError
from pipeline.telemetry import logger

log = logger(__name__)
Dependency = Literal["pool", "storage", "identity"]
DEPENDENCIES: tuple[Dependency, ...] = get_args(Dependency)
BreakerState = Literal["closed", "open", "half_open"]

SOURCES_TO_OPEN = 3
# A fault counts for this long. Jobs that meet faults return within this time, so an outage is found with few jobs, too.
FAULT_WINDOW_SECONDS = 300.0
# The probe interval doubles with every probe that fails, up to this factor and this time.
MAX_PROBE_FACTOR, MAX_PROBE_SECONDS = 6, 60.0
# A probe that takes longer makes room for another one; its own success still counts.
PROBE_TIMEOUT_SECONDS = 120.0
MAX_PAUSE_SECONDS = 300.0


class Attempt:
    """A job that a breaker has let pass. Each is an object of its own, to tell the probe from other jobs."""


@dataclass
class CircuitBreaker:
    """State machine of one dependency.

    `first_interval` is the time from the opening to the first probe. `clock` returns seconds, and `uniform` a random
    number between two others.
    """

    dependency: Dependency
    first_interval: float
    clock: Callable[[], float] = time.monotonic
    uniform: Callable[[float, float], float] = random.uniform
    state: BreakerState = "closed"
    last_fault: TransientError | None = None
    _opened: float = 0.0
    _probe_at: float = 0.0
    _interval: float = 0.0
    _probe: Attempt | None = None
    _faults: dict[str, float] = field(default_factory=dict)

    @property
    def opened(self) -> datetime | None:
        """The time at which the breaker opened; None if it is closed."""
        return None if self.state == "closed" else datetime.now(UTC) - timedelta(seconds=self.clock() - self._opened)

    @property
    def seconds_to_probe(self) -> float:
        """The seconds until a job may start: 0 if one may start now."""
        if self.state == "closed" or (self.state == "half_open" and self._probe is None):
            return 0.0
        return max(self._probe_at - self.clock(), 0.0)

    def pause(self) -> float:
        """Return the seconds after which a refused job should return, at most 300.

        Jobs return after the next probe, spread over as much time as the outage has lasted: a long outage costs each
        waiting job few deliveries.
        """
        wait = min(self.seconds_to_probe if self.state == "open" else self.first_interval, MAX_PAUSE_SECONDS)
        spread = max(self.clock() - self._opened, self.first_interval)
        return wait + self.uniform(0, min(spread, MAX_PAUSE_SECONDS - wait))

    def enter(self, attempt: Attempt) -> None:
        """Let a job start, which needs `seconds_to_probe` to be 0. Unless the breaker is closed, it is the probe."""
        if self.state != "closed":
            self.state, self._probe = "half_open", attempt
            self._probe_at = self.clock() + PROBE_TIMEOUT_SECONDS
            log.info(
                "circuit breaker of the %s: one job probes the service",
                self.dependency,
                extra={"event": "breaker.half_open", "dependency": self.dependency},
            )

    def leave(self, attempt: Attempt) -> None:
        """Note the end of a job. A probe that has shown nothing makes room for the next one."""
        if self._probe is attempt:
            self._probe = None

    def record_fault(self, attempt: Attempt, source: str, fault: TransientError) -> None:
        """Count a fault of the service that the job of a source has met."""
        now = self.clock()
        if self.state == "closed":
            self._faults = {each: at for each, at in self._faults.items() if now - at < FAULT_WINDOW_SECONDS}
            self._faults[source] = now
            if len(self._faults) < SOURCES_TO_OPEN:
                return
            self._opened, self._interval = now, min(self.first_interval, MAX_PROBE_SECONDS)
        elif self._probe is attempt:
            self._interval = min(self._interval * 2, self.first_interval * MAX_PROBE_FACTOR, MAX_PROBE_SECONDS)
        else:
            return  # a job that had started before
        self.state, self.last_fault, self._probe = "open", fault, None
        self._probe_at = now + min(max(self._interval, fault.retry_after or 0), MAX_PAUSE_SECONDS)
        log.error(
            "circuit breaker of the %s is open, no job starts for %.0f s: %s",
            self.dependency,
            self._probe_at - now,
            fault,
            extra={"event": "breaker.opened", "dependency": self.dependency, "kind": fault.kind},
        )

    def record_success(self) -> None:
        """Note that the service has worked for a job: close the breaker, and forget earlier faults."""
        self._faults.clear()
        if self.state != "closed":
            log.info(
                "circuit breaker of the %s is closed after %.0f s: the service works again",
                self.dependency,
                self.clock() - self._opened,
                extra={"event": "breaker.closed", "dependency": self.dependency},
            )
            self.state, self.last_fault, self._probe = "closed", None, None
