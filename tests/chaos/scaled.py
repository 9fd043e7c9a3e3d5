"""Scale of a chaos run: the pipeline's minutes become seconds."""

from __future__ import annotations

SCALE = 30
# The longest pause of a job, five minutes, scaled.
LONGEST_PAUSE = 300.0 / SCALE
# The timers for lost messages and dead-lettered events run every five minutes, scaled.
TIMER = "*/10 * * * * *"
# Attempts of a job, as by default. Before service faults stopped using up attempts, the pauses between them added up
# to this many requeue delays: 2 + 4 + 8 + 16.
MAX_ATTEMPTS = 5
FORMER_BACKOFF = sum(2**attempt for attempt in range(1, MAX_ATTEMPTS))
OUTAGE_FACTOR = 3


def outage_seconds(requeue_delay: float) -> float:
    """Return the duration of an outage: three times the former backoff of a job."""
    return OUTAGE_FACTOR * FORMER_BACKOFF * requeue_delay
