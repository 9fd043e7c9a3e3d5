"""Send the lost messages of jobs again: of jobs whose queue was deleted or emptied, so that no message is left of them.

A job that waits has a message, visible, delayed, or being processed. A backlog, a pause, or a full pool therefore never
looks like a loss: the queue holds at least as many messages as jobs wait.
"""

import heapq
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pipeline.concurrency import gather_or_cancel, map_concurrently
from pipeline.storage import LONG_AGO, JobQueue, Message, WaitingJob, WaitingJobs
from pipeline.telemetry import logger

log = logger(__name__)
# A job is queued shortly before or after its message is sent.
GRACE = timedelta(minutes=5)
# The host hides a received message for ten minutes. If its process dies, the message then returns.
ABANDONED_AGE = timedelta(minutes=30)
# One pass sends at most this many messages, and reads and sends for at most this long each; the next pass continues.
MAX_MESSAGES, TIME_BUDGET_SECONDS = 20_000, 120.0
MAX_CONCURRENT_SENDS = 16
MARKED_AT_ONCE = 100


@dataclass(frozen=True)
class JobMessageRecovery:
    """Send the lost messages of jobs again, oldest first and a bounded number at a time.

    Jobs of other `containers`, such as those before a change of the settings, can no longer be executed.
    `waits_in_run` tells if the jobs of a run wait with its batches, or do not wait because the run was cancelled.
    """

    waiting: WaitingJobs
    queue: JobQueue
    dead_letters: JobQueue
    containers: tuple[str, ...]
    upload_container: str
    claim_ttl: int
    waits_in_run: Callable[[str], Awaitable[bool]]

    async def recover_all(self, lost_at: datetime) -> tuple[int, bool]:
        """Send the messages of all jobs again that were in the queue when its messages were lost.

        Returns:
            The number of messages, and True if none is missing any more.
        """
        now = datetime.now(UTC)
        jobs = await self._oldest(self._candidates(lost_at, lost_at, now), lost_at)
        count = await self._send_again(jobs)
        # Jobs that were running at the loss are found when their claims have expired.
        claims_expired = now > lost_at + timedelta(seconds=2 * self.claim_ttl)
        return count, claims_expired and count == len(jobs) < MAX_MESSAGES

    async def recover_missing(self) -> int:
        """Send messages again if the queue holds fewer than jobs wait: for as many jobs as messages are missing.

        Returns:
            The number of messages.
        """
        # The messages are counted first: every job that waited before has its message among them.
        messages = await self.queue.length() + await self.dead_letters.length(missing_ok=True)
        now = datetime.now(UTC)
        settled, abandoned = now - GRACE, None if messages else now - ABANDONED_AGE
        waiting = sum([len(page) async for page in self._candidates(settled, abandoned, now)])
        if waiting <= messages:
            return 0
        lost = await self._oldest(self._candidates(settled, abandoned, now), settled)
        return await self._send_again(await self._confirmed(lost[: waiting - messages]))

    async def _confirmed(self, jobs: list[WaitingJob]) -> list[WaitingJob]:
        """Return the jobs that still wait.

        A message that was sent again, and is gone, has ended its job, unless it was lost too. A list row that tells
        otherwise would send messages without end.
        """

        async def confirm(job: WaitingJob) -> bool:
            return job.resent_at == LONG_AGO or await self.waiting.confirm(job)

        confirmed = await map_concurrently(confirm, jobs, MAX_CONCURRENT_SENDS)
        return [job for job, waits in zip(jobs, confirmed, strict=True) if waits]

    async def _candidates(
        self, queued_before: datetime, abandoned_before: datetime | None, now: datetime
    ) -> AsyncIterator[list[WaitingJob]]:
        """Yield the jobs whose messages should be in the queue, in pages: those that wait, and those of dead workers.

        After the time budget, the rest is left out.
        """
        deadline = time.monotonic() + TIME_BUDGET_SECONDS
        in_run: dict[str, bool] = {"": False}
        sources = [self.waiting.queued(queued_before)]
        if abandoned_before:
            sources.append(self.waiting.abandoned(abandoned_before, now))
        for pages in sources:
            async for page in pages:
                for run in {job.run for job in page} - in_run.keys():
                    in_run[run] = await self.waits_in_run(run)
                yield [job for job in page if not in_run[job.run] and job.container in self.containers]
                if time.monotonic() > deadline:
                    return

    async def _oldest(self, pages: AsyncIterator[list[WaitingJob]], before: datetime) -> list[WaitingJob]:
        """Return the jobs whose messages were sent before a time, oldest first: at most as many as one pass sends."""
        kept: list[WaitingJob] = []
        async for page in pages:
            kept += [job for job in page if job.message_sent <= before]
            if len(kept) > 2 * MAX_MESSAGES:
                kept = heapq.nsmallest(MAX_MESSAGES, kept, key=_message_sent)
        return sorted(kept, key=_message_sent)[:MAX_MESSAGES]

    async def _send_again(self, jobs: list[WaitingJob]) -> int:
        """Mark jobs and send their messages.

        The mark comes first, so that no fault of storage multiplies messages. After a crash in between, the queue holds
        fewer messages than jobs wait, which a later pass finds.
        """
        deadline, count = time.monotonic() + TIME_BUDGET_SECONDS, 0
        for start in range(0, len(jobs), MARKED_AT_ONCE):
            if time.monotonic() > deadline:
                break
            chunk = jobs[start : start + MARKED_AT_ONCE]
            await self.waiting.mark_resent(chunk, datetime.now(UTC))
            for first in range(0, len(chunk), MAX_CONCURRENT_SENDS):
                await gather_or_cancel(*map(self._send, chunk[first : first + MAX_CONCURRENT_SENDS]))
            count += len(chunk)
        if count:
            log.warning(
                "the messages of %d jobs were lost and are sent again", count, extra={"event": "job.messages_resent"}
            )
        return count

    async def _send(self, job: WaitingJob) -> None:
        message = Message(
            recipe=job.key.recipe,
            container=job.container,
            name=job.name,
            # A pause of requests holds for the images of requests; other sources count as uploads.
            requested=job.container == self.upload_container,
            service_seconds=job.service_seconds,
        )
        await self.queue.send(message)


def _message_sent(job: WaitingJob) -> datetime:
    return job.message_sent
