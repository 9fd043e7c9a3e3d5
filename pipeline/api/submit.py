"""HTTP handler of submissions: execute a job, and respond with its renditions or, if it takes longer, with its URL."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass

from pipeline.api.http import RETRY_AFTER_SECONDS, Links, Request, Response, problem, problem_response
from pipeline.api.idempotency import IdempotencyKey, IdempotencyKeys
from pipeline.api.images import ImageHandlers
from pipeline.api.preferences import Preferences
from pipeline.api.schemas import AcceptedDocument, JobDocument
from pipeline.api.submit_request import SubmitRequest, parse_submission
from pipeline.errors import JobSuperseded, PermanentError, StateConflict
from pipeline.jobs.actions import JobActions
from pipeline.jobs.dispatch import JobDispatcher
from pipeline.jobs.rendering import SchedulingPolicy
from pipeline.settings import Settings
from pipeline.storage.entry import Entry, State
from pipeline.storage.keys import JobKey
from pipeline.storage.queue import Message

FINAL_STATES, PENDING_STATES = ("done", "failed"), ("queued", "running")
POLL_INTERVAL_SECONDS = 0.5
# A client waits for the response, so the job precedes uploads and runs.
SUBMIT_POLICY = SchedulingPolicy("interactive")
# Jobs that continue after their requests got a response. An event loop keeps only weak references to its tasks.
_background_jobs: set[asyncio.Task[Entry | None]] = set()


async def drain_background_jobs() -> None:
    """Wait for the jobs that continue after their requests got a response."""
    await asyncio.gather(*_background_jobs, return_exceptions=True)


@dataclass(frozen=True)
class SubmitHandlers:
    """Handler of submissions."""

    settings: Settings
    jobs: JobActions
    dispatcher: JobDispatcher
    keys: IdempotencyKeys
    images: ImageHandlers

    async def submit(self, request: Request) -> Response:
        """Handle `POST /api/jobs`: execute a job, and wait for its end as long as the client prefers."""
        submission, prefer = parse_submission(request, self.settings), Preferences.of(request, self.settings)
        idempotency_key = IdempotencyKey.of(request.header("idempotency-key"), submission.fingerprint)
        message, is_repeated = await self._message(submission, idempotency_key)
        key = JobKey.of(message.recipe, message.container, message.name)
        entry = await self.jobs.ledger.get(key) if is_repeated else None
        if entry is None or entry.state not in FINAL_STATES:
            entry = await self._await_job(message, key, prefer.wait)
        if entry and entry.state == "superseded":
            raise JobSuperseded(entry.error_message)
        if entry and entry.state == "dismissed":
            raise StateConflict("the job was dismissed: retry it to execute it", kind="job_dismissed")
        if entry is None or entry.state not in FINAL_STATES:
            return _accepted(key, entry.state if entry else "queued", request.links, prefer)
        return await self._ended(request.links, entry, prefer)

    async def _message(self, submission: SubmitRequest, key: IdempotencyKey | None) -> tuple[Message, bool]:
        """Find the recipe and store the source; return the job's message.

        The flag is True if an earlier request with the idempotency key submitted the job.
        """
        recipe = await self._recipe_name(submission)
        # The random prefix keeps uploads apart, and makes the names of other clients' images hard to guess.
        name = submission.name if submission.image is None else f"{secrets.token_hex(8)}/{submission.name}"
        message, is_repeated = Message(recipe=recipe, container=submission.container, name=name), False
        if submission.image is None:
            await self.jobs.sources.stat(submission.container, name)
        if key:
            target, is_repeated = await self.keys.reserve(key, message.model_dump(exclude_defaults=True))
            message = Message.model_validate(target)
        if submission.image is not None:
            await self.jobs.sources.put(message.container, message.name, submission.image, submission.content_type)
        return message, is_repeated

    async def _recipe_name(self, submission: SubmitRequest) -> str:
        """Return the name of the recipe; store an ad-hoc recipe first. Raises RecipeError if it cannot be used."""
        if isinstance(submission.recipe, str):
            return (await self.jobs.catalog.get(submission.recipe)).name
        return (await self.jobs.catalog.adhoc.keep(submission.recipe)).name

    async def _await_job(self, message: Message, key: JobKey, wait_seconds: float) -> Entry | None:
        """Execute the job for at most `wait_seconds`; return its row, which may show that it has not ended."""
        if wait_seconds == 0:
            await self.jobs.submit(message)
            return None
        deadline = time.monotonic() + wait_seconds
        entry = await self._execute(message, wait_seconds)
        # Another worker may hold the claim, or the job may wait in the queue.
        while (entry is None or entry.state in PENDING_STATES) and time.monotonic() < deadline:
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
            entry = await self.jobs.ledger.get(key)
        return entry or await self.jobs.ledger.get(key)

    async def _execute(self, message: Message, wait_seconds: float) -> Entry | None:
        """Execute the job; return its row, or None after `wait_seconds`.

        The job then continues in the background. A delayed message executes it again if this process dies.
        """
        task = asyncio.create_task(self.dispatcher.execute_message(message, SUBMIT_POLICY))
        _background_jobs.add(task)
        task.add_done_callback(_background_jobs.discard)
        done, _ = await asyncio.wait([task], timeout=wait_seconds)
        if done:
            return task.result()
        await self.jobs.submit(message, self.settings.claim_ttl)
        return None

    async def _ended(self, links: Links, entry: Entry, prefer: Preferences) -> Response:
        """Return the response to a job that has ended: a problem, the image, or the job."""
        applied = prefer.applied(accepted=False)
        if entry.state == "failed":
            error = PermanentError(entry.error_message, kind=entry.error_kind)
            return problem_response(problem(error, job=entry.key.id, stage=entry.stage), **applied)
        if prefer.image and len(entry.renditions) == 1:
            return await self.images.rendition(entry, entry.renditions[0], links, applied)
        return Response(JobDocument.of(entry, links), headers={**applied, "Location": links.to("jobs", entry.key.id)})


def _accepted(key: JobKey, state: State, links: Links, prefer: Preferences) -> Response:
    url = links.to("jobs", key.id)
    headers = {"Location": url, "Retry-After": str(RETRY_AFTER_SECONDS), **prefer.applied(accepted=True)}
    return Response(AcceptedDocument(id=key.id, state=state, href=url), 202, headers)
