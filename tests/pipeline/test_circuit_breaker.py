"""The state machine of a circuit breaker, with a clock of its own."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass
from itertools import count

import pytest

from pipeline.errors import PoolUnavailable
from pipeline.jobs.circuit_breaker import (
    FAULT_WINDOW_SECONDS,
    MAX_PAUSE_SECONDS,
    MAX_PROBE_SECONDS,
    PROBE_TIMEOUT_SECONDS,
    SOURCES_TO_OPEN,
    Attempt,
    CircuitBreaker,
)

INTERVAL = 10.0
FAULT = PoolUnavailable("the pool does not respond")


@dataclass
class Clock:
    """A clock that a test sets."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    """A closed breaker whose random numbers are the larger bound."""
    return CircuitBreaker("pool", INTERVAL, clock, lambda _, upper: upper)


def fail(breaker: CircuitBreaker, *sources: str, fault: PoolUnavailable = FAULT) -> None:
    """Let a job of each source start and meet a fault."""
    for source in sources:
        attempt = Attempt()
        assert breaker.seconds_to_probe == 0
        breaker.enter(attempt)
        breaker.record_fault(attempt, source, fault)
        breaker.leave(attempt)


def test_faults_of_one_source_never_open_it(breaker: CircuitBreaker) -> None:
    fail(breaker, *["a"] * 100, "b", "a")
    assert (breaker.state, breaker.seconds_to_probe) == ("closed", 0)


def test_it_opens_at_the_fault_of_the_third_source(breaker: CircuitBreaker) -> None:
    assert SOURCES_TO_OPEN == 3
    fail(breaker, "a", "b", "c")
    assert (breaker.state, breaker.seconds_to_probe) == ("open", INTERVAL)
    assert breaker.last_fault is FAULT


def test_a_success_forgets_earlier_faults(breaker: CircuitBreaker) -> None:
    fail(breaker, "a", "b")
    breaker.record_success()
    fail(breaker, "c", "d")
    assert breaker.state == "closed"


def test_old_faults_do_not_count(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, "a", "b")
    clock.now += FAULT_WINDOW_SECONDS
    fail(breaker, "c", "d")
    assert breaker.state == "closed"


def test_half_open_admits_one_job(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, "a", "b", "c")
    clock.now += INTERVAL
    assert breaker.seconds_to_probe == 0
    breaker.enter(Attempt())
    assert (breaker.state, breaker.seconds_to_probe) == ("half_open", PROBE_TIMEOUT_SECONDS)


def test_the_success_of_the_probe_closes_it(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, "a", "b", "c")
    clock.now += INTERVAL
    probe = Attempt()
    breaker.enter(probe)
    breaker.record_success()
    breaker.leave(probe)
    assert (breaker.state, breaker.seconds_to_probe, breaker.opened) == ("closed", 0, None)


def test_the_interval_of_failing_probes_is_bounded(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, "a", "b", "c")
    intervals = []
    for number in range(8):
        clock.now += breaker.seconds_to_probe
        fail(breaker, f"p{number}")
        intervals.append(breaker.seconds_to_probe)
    assert intervals == [20, 40, 60, 60, 60, 60, 60, 60]
    assert max(intervals) == MAX_PROBE_SECONDS


def test_a_requested_delay_postpones_the_probe_within_bounds(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, "a", "b", "c", fault=PoolUnavailable("throttled", retry_after=45))
    assert breaker.seconds_to_probe == 45
    clock.now += 45
    fail(breaker, "d", fault=PoolUnavailable("throttled", retry_after=86_400))
    assert breaker.seconds_to_probe == MAX_PAUSE_SECONDS


def test_a_probe_that_shows_nothing_makes_room_for_another(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, "a", "b", "c")
    clock.now += INTERVAL
    probe = Attempt()
    breaker.enter(probe)
    breaker.leave(probe)
    assert (breaker.state, breaker.seconds_to_probe) == ("half_open", 0)


def test_a_probe_that_hangs_makes_room_for_another(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, "a", "b", "c")
    clock.now += INTERVAL
    hanging, second = Attempt(), Attempt()
    breaker.enter(hanging)
    clock.now += PROBE_TIMEOUT_SECONDS
    assert breaker.seconds_to_probe == 0
    breaker.enter(second)
    breaker.leave(hanging)
    assert breaker.seconds_to_probe == PROBE_TIMEOUT_SECONDS, "the end of the first leaves the second alone"


def test_jobs_that_started_before_the_outage_prolong_nothing(breaker: CircuitBreaker, clock: Clock) -> None:
    early = Attempt()
    breaker.enter(early)
    fail(breaker, "a", "b", "c")
    clock.now += INTERVAL
    breaker.record_fault(early, "d", FAULT)
    assert breaker.seconds_to_probe == 0
    breaker.enter(Attempt())
    breaker.record_fault(early, "d", FAULT)
    assert breaker.state == "half_open"


def test_pauses_of_a_long_outage_are_spread_over_five_minutes(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, "a", "b", "c", fault=PoolUnavailable("throttled", retry_after=60))
    clock.now += 30
    breaker._opened -= 86_400
    breaker.uniform = lambda lower, upper: (lower + upper) / 2
    assert breaker.pause() == (30 + MAX_PAUSE_SECONDS) / 2


def test_pauses_end_after_the_next_probe_and_grow_with_the_outage(breaker: CircuitBreaker, clock: Clock) -> None:
    """A day of outage costs a waiting job about 300 deliveries, and no pause is longer than five minutes."""
    fail(breaker, "a", "b", "c")
    assert breaker.pause() == 2 * INTERVAL
    end, deliveries = clock.now + 86_400, 0
    probes = count()
    while clock.now < end:
        pause = breaker.pause()
        assert breaker.seconds_to_probe <= pause <= MAX_PAUSE_SECONDS
        clock.now += pause
        deliveries += 1
        if breaker.seconds_to_probe == 0:
            fail(breaker, f"p{next(probes)}")
    assert deliveries < 300


def test_an_outage_of_two_hours_is_met_by_few_jobs_and_over_soon_after_its_end(clock: Clock) -> None:
    """Simulate 2,000 jobs of one process, in the time of the test's clock."""
    outage, numbers = 7200.0, random.Random(5)
    breaker = CircuitBreaker("pool", INTERVAL, clock, numbers.uniform)
    waiting = [(numbers.uniform(0, outage), number) for number in range(2000)]
    heapq.heapify(waiting)
    met = deliveries = 0
    while waiting:
        clock.now, number = heapq.heappop(waiting)
        deliveries += 1
        if breaker.seconds_to_probe:
            heapq.heappush(waiting, (clock.now + breaker.pause(), number))
        elif clock.now < outage:
            met += 1
            fail(breaker, str(number))
            heapq.heappush(waiting, (clock.now + INTERVAL, number))
        else:
            breaker.record_success()
    assert met < 150, "about one probe a minute"
    assert deliveries / 2000 < 30
    assert clock.now - outage < MAX_PROBE_SECONDS + MAX_PAUSE_SECONDS
