"""Put messages back that only a newer deployment can process, until PIPELINE_GIVE_UP_AFTER: then they are failures."""

import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from pipeline.errors import (
    ConfigError,
    JobSuperseded,
    OutdatedDeployment,
    PermanentError,
    PipelineError,
    Unreadable,
)
from pipeline.storage import (
    MAX_BODY_BYTES,
    UNREADABLE_PARTITION,
    Entry,
    JobKey,
    JobQueue,
    Ledger,
    Message,
    RunWork,
    Version,
    content_of,
    mark_unreadable,
    unreadable_since,
)
from pipeline.telemetry import logger

log = logger(__name__)
M = TypeVar("M", Message, RunWork)
NotProcessable = Unreadable | OutdatedDeployment
"""Why only a newer deployment can process a message."""
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 5.0, 300.0


def pause_since(since: float, give_up_after: float) -> float | None:
    """Return the pause, in seconds, of a message that was first put back at `since` (seconds since 1970).

    The pauses double, up to five minutes. None means that the message is given up.
    """
    waited = max(0.0, time.time() - since)
    return None if waited >= give_up_after else min(max(waited, MIN_PAUSE_SECONDS), MAX_PAUSE_SECONDS)


def first_put_back(stored: float | None) -> float:
    """Return the time at which a message was first put back, given the time that it carries, if any.

    A time in the future, by a clock that is ahead or by a forged message, counts as the current time: the message would
    return every few seconds, and never be given up.
    """
    now = time.time()
    return min(stored or now, now)


def leave_to_newer(message: M, error: OutdatedDeployment, give_up_after: float) -> tuple[M, float] | None:
    """Return the message to send again, and its delay, for a job that only a newer deployment may process.

    None means that the job is given up.
    """
    since = first_put_back(message.left_since)
    pause = pause_since(since, give_up_after)
    if pause is None:
        return None
    log.warning("%s; put back for %.0f s", error, pause, extra={"event": "message.left_to_newer"})
    return message.model_copy(update={"left_since": since}), pause


@dataclass(frozen=True)
class UnreadableMessages:
    """Messages of a queue that this version of the app cannot read or process. A newer version may."""

    queue: JobQueue
    ledger: Ledger
    give_up_after: float

    async def put_back(self, body: bytes, error: NotProcessable, fail: Callable[[], Awaitable[bool]]) -> None:
        """Put a message back with a pause; in the end, record a failure.

        Args:
            body: The body of the message.
            error: The reason.
            fail: Records the failure of the jobs that the message names; returns False if it names none.

        Raises:
            TransientError: Storage is unavailable; the redelivery by the host keeps the message.
        """
        since = first_put_back(unreadable_since(body))
        pause = pause_since(since, self.give_up_after)
        marked = mark_unreadable(body, since)
        if pause is None or len(marked) > MAX_BODY_BYTES:
            await self._give_up(body, error, fail)
            return
        log.warning("%s; the message is put back for %.0f s", error, pause, extra={"event": "message.unreadable"})
        await self.queue.requeue(marked, pause)

    async def _give_up(self, body: bytes, error: NotProcessable, fail: Callable[[], Awaitable[bool]]) -> None:
        try:
            if await fail():
                return
        except JobSuperseded as reason:
            log.info("superseded: %s", reason, extra={"event": "job.superseded", "kind": reason.kind})
            return
        except (PermanentError, ConfigError):
            pass  # its job cannot be told after all
        await self.record(body, error)

    async def record(self, body: bytes, error: PipelineError) -> None:
        """Record a message without a job as a failure in the partition of unreadable messages."""
        log.warning("unreadable message recorded as a failure: %s", error, extra={"event": "dead_letter.unreadable"})
        content = content_of(body)
        await self.ledger.enqueue(
            Entry(
                JobKey(UNREADABLE_PARTITION, hashlib.sha256(content).hexdigest()[:32]),
                container="",
                name=content[:500].decode(errors="replace"),
                state="failed",
                version=Version("", ""),
                error_kind=error.kind,
                error_class=type(error).__name__,
                error_message=error.message,
                stage="queue",
            )
        )
