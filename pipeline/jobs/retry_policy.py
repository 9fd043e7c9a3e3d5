"""Retry policy of jobs and of the batches of runs: which errors use up attempts, how long to wait, when to give up.

- A service fault (`TransientError.service`) uses up no attempt. The job is retried until it has lost
  PIPELINE_GIVE_UP_AFTER to such faults since its first delivery. Time during which nothing was tried, because the pool
  was full or something was paused, does not count.
- The loss of a session uses up no attempt either if it does not count against the image (see
  `pipeline.jobs.session_losses`).
- Any other error uses up one of PIPELINE_MAX_ATTEMPTS attempts.
"""

import random
from dataclasses import dataclass
from typing import Generic, TypeVar

from pipeline.errors import PipelineError, PoolFull, SessionLost, TransientError
from pipeline.settings import Settings
from pipeline.storage import QueueMessage
from pipeline.telemetry import logger

log = logger(__name__)
MAX_DELAY_SECONDS = 3600.0
MAX_PAUSE_SECONDS = 300.0
JITTER = 0.25
M = TypeVar("M", bound=QueueMessage)


@dataclass(frozen=True)
class Retry(Generic[M]):
    """The message of the next attempt, and the seconds before it."""

    message: M
    delay: float


def is_service_fault(error: PipelineError) -> bool:
    """Return whether a service is at fault, so that the time that it takes counts, and no attempt."""
    return isinstance(error, TransientError) and bool(error.service)


def uses_attempt(error: PipelineError) -> bool:
    """Return whether an error that a retry may cure uses up an attempt. A lost session that counts is a failure."""
    return isinstance(error, TransientError) and not error.service and not isinstance(error, SessionLost)


def plan_retry(settings: Settings, message: M, error: PipelineError, elapsed: float) -> Retry[M] | None:
    """Return the next attempt after an error; None if the job is given up.

    Args:
        settings: Delays and limits.
        message: The message of the failed attempt.
        error: The error that ended the attempt.
        elapsed: Duration of the attempt in seconds.
    """
    if isinstance(error, TransientError) and error.service:
        delay = pause(settings, message.service_seconds, error.retry_after)
        lost = message.service_seconds + elapsed
        following = message.model_copy(update={"service_seconds": round(lost + delay, 3)})
        return Retry(following, delay) if lost < settings.give_up_after else None
    if isinstance(error, SessionLost):
        losses = message.losses + 1
        return Retry(message.model_copy(update={"losses": losses}), retry_delay(settings, losses))
    attempt = message.attempt + 1
    if attempt >= settings.max_attempts:
        return None
    delay = _at_least(retry_delay(settings, attempt), getattr(error, "retry_after", None), MAX_DELAY_SECONDS)
    return Retry(message.model_copy(update={"attempt": attempt}), delay)


def log_retry(retry: Retry[M], error: PipelineError) -> None:
    """Log why and when a job is tried again."""
    used = retry.message
    log.info(
        "not done: the next attempt follows in %.0f s (attempts used up: %d, lost to services: %.0f s): %s",
        retry.delay,
        used.attempt,
        used.service_seconds,
        error,
        extra={"event": "job.requeued", "kind": error.kind},
    )


def pause(settings: Settings, lost: float, retry_after: float | None = None) -> float:
    """Return the seconds before the next attempt after a service fault, with jitter; five minutes at most.

    The pause is as long as the time that the job has `lost` so far, in seconds, so that it doubles.
    """
    delay = min(max(settings.requeue_delay, lost), MAX_PAUSE_SECONDS / (1 + JITTER))
    return _at_least(_jittered(delay), retry_after, MAX_PAUSE_SECONDS)


def retry_delay(settings: Settings, attempt: int) -> float:
    """Return the seconds before the next attempt: exponential backoff with 25 % jitter, at most 75 minutes.

    The jitter spreads jobs that failed together.
    """
    return _jittered(min(settings.requeue_delay * 2.0**attempt, MAX_DELAY_SECONDS))


def deferral_delay(settings: Settings, error: PoolFull) -> float:
    """Return the seconds before a job asks again for a session: at least what the pool requested, up to an hour."""
    return _at_least(retry_delay(settings, 0), error.retry_after, MAX_DELAY_SECONDS)


def recovery_delay(seconds: float) -> float:
    """Return a delay of about that many seconds, so that messages that come together do not start together."""
    return _jittered(seconds)


def _at_least(delay: float, retry_after: float | None, maximum: float) -> float:
    """Return the longer of a delay and the requested one. The latter gets jitter too, but never less than requested."""
    if not retry_after or retry_after <= delay:
        return delay
    return min(retry_after * random.uniform(1, 1 + JITTER), maximum)  # noqa: S311 - jitter


def _jittered(delay: float) -> float:
    return delay * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - jitter
