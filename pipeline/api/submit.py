"""HTTP handler of submissions: execute a job, and respond with its renditions or, if it takes longer, with its URL.

A submission is a job for a stored blob, or for an image in the request.
"""

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self, TypeVar

from pydantic import Field, model_validator

from pipeline.api.http import RETRY_AFTER_SECONDS, Links, Request, Response, problem, problem_response
from pipeline.api.idempotency import IdempotencyKey, IdempotencyKeys
from pipeline.api.images import ImageHandlers
from pipeline.api.negotiation import ResultFormat, WaitPreference
from pipeline.api.schemas import JobDocument, RecipeName, WaitingDocument
from pipeline.api.uploads import ANY_TYPE, known_query, read_upload
from pipeline.engine.encode.formats import FORMATS
from pipeline.errors import JobSuperseded, PermanentError, RequestError, StateConflict, TransientError
from pipeline.jobs.actions import JobActions
from pipeline.jobs.dispatch import JobDispatcher
from pipeline.jobs.isolation import TENANT_METADATA_KEY, checked_tenant
from pipeline.jobs.recovery_message import RecoveryMessage
from pipeline.jobs.rendering import SchedulingPolicy
from pipeline.monitoring.document import Document
from pipeline.recipes import Recipe
from pipeline.settings import MIB, Settings
from pipeline.storage import BlobName, Entry, JobKey, Message, State

T = TypeVar("T")


class SourceRef(Document):
    """A blob by container and name; a URL is not accepted."""

    container: Annotated[str, Field(max_length=63)] | None = None
    """Container of the blob; the input container by default."""
    name: BlobName


class JobRequest(Document, json_schema_extra={"examples": [{"source": "photos/a.jpg", "recipe": "web"}]}):
    """A submission of a job: a source, and a recipe by name or, if the settings allow it, in full."""

    source: BlobName | SourceRef
    recipe: RecipeName | None = None
    transforms: list[Any] | None = Field(None, max_length=50, description="As in the recipe file.")
    renditions: dict[str, Any] | None = Field(None, max_length=50, description="As in the recipe file.")

    @model_validator(mode="after")
    def _one_recipe(self) -> Self:
        if (self.recipe is None) == (self.renditions is None):
            raise ValueError(
                "send {source, recipe} to name a recipe, or {source, transforms, renditions} to supply one"
            )
        if self.recipe is not None and self.transforms is not None:
            raise ValueError("a named recipe has its own transforms: omit 'transforms'")
        return self

    @property
    def own_recipe(self) -> dict[str, Any] | None:
        """The recipe in the request, if there is one."""
        return None if self.renditions is None else {"transforms": self.transforms or [], "renditions": self.renditions}


@dataclass(frozen=True)
class SubmitRequest:
    """A validated submission.

    `image` holds the bytes of an uploaded image; `name` is then its file name, and `tenant` its tenant, if the request
    names one. `recipe` is a name or the recipe itself.
    """

    container: str
    name: str
    recipe: str | dict[str, Any]
    image: memoryview | None = None
    content_type: str = ANY_TYPE
    tenant: str = ""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the submission in 64 hexadecimal digits; the same for JSON, form and body."""
        image = hashlib.sha256(self.image).hexdigest() if self.image is not None else None
        content = [self.container, self.name, self.recipe, image, self.content_type, self.tenant]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def parse_submission(request: Request, settings: Settings) -> SubmitRequest:
    """Parse the submission of a job. Raises RequestError if it is invalid."""
    if request.content_type.value == "application/json":
        known_query(request, set())
        return _named_source(request.json(JobRequest), settings)
    upload = read_upload(request, settings, {"recipe", "tenant"})
    recipe = upload.fields.get("recipe")
    if not recipe:
        raise RequestError("no recipe is named: add the field 'recipe', or ?recipe=NAME to the URL")
    tenant = checked_tenant(upload.fields.get("tenant", ""))
    return SubmitRequest(settings.upload_container, upload.name, recipe, upload.data, upload.content_type, tenant)


def _named_source(body: JobRequest, settings: Settings) -> SubmitRequest:
    source = SourceRef(name=body.source) if isinstance(body.source, str) else body.source
    container = source.container or settings.input_container
    if container not in (settings.input_container, settings.upload_container):
        raise RequestError(f"container must be {settings.input_container!r} or {settings.upload_container!r}")
    return SubmitRequest(container, source.name, body.own_recipe or body.recipe or "")


FINAL_STATES, PENDING_STATES = ("done", "failed"), ("queued", "running")
POLL_INTERVAL_SECONDS = 0.5
# The kind of CostCapReached.
COST_CAP = "cost_cap"
# An image is stored in blocks of 4 MiB. The next one is collected while one is sent.
MAX_STORING_BYTES = 12 * MIB
# A client waits for the response, so the job precedes uploads and runs.
SUBMIT_POLICY = SchedulingPolicy("interactive")
# Jobs that continue after their requests got a response. An event loop keeps only weak references to its tasks.
_background_jobs: set[asyncio.Task[Any]] = set()


def _in_background(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    task = asyncio.create_task(work)
    _background_jobs.add(task)
    task.add_done_callback(_background_jobs.discard)
    return task


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
        submission, prefer = parse_submission(request, self.settings), WaitPreference.of(request, self.settings)
        wanted = ResultFormat.of(request)
        key_text = request.header("idempotency-key")
        # The hash of a large image takes too long for the event loop.
        fingerprint = await asyncio.to_thread(lambda: submission.fingerprint) if key_text else ""
        idempotency_key = IdempotencyKey.of(key_text, fingerprint)
        recipe = await self._recipe(submission)
        wanted.check(recipe)
        wait, reason = await self._wait_seconds(prefer)
        message, is_repeated = await self._message(request, recipe.name, submission, idempotency_key)
        key = JobKey.of(message.recipe, message.container, message.name)
        entry = await self.jobs.ledger.get(key) if is_repeated else None
        if entry is None or entry.state not in FINAL_STATES:
            entry = await self._await_job(message, key, wait)
        if entry and entry.state == "superseded":
            raise JobSuperseded(entry.error_message)
        if entry and entry.state == "dismissed":
            raise StateConflict("the job was dismissed: retry it to execute it", kind="job_dismissed")
        if entry is None or entry.state not in FINAL_STATES:
            reason = entry.error_message if entry and entry.error_kind == COST_CAP else reason
            return _accepted(key, entry.state if entry else "queued", reason, request.links, prefer)
        return await self._ended(request, entry, prefer, wanted)

    async def _wait_seconds(self, prefer: WaitPreference) -> tuple[float, str]:
        """Return the time to wait for the job, and the reason if that is 0 because the job cannot start now.

        Raises the refusal if the job cannot even wait.
        """
        refusal = await self.dispatcher.admission.refusal("requests")
        if isinstance(refusal, TransientError) and refusal.service == "storage":
            raise refusal
        return (0, refusal.message) if refusal else (prefer.seconds, "")

    async def _message(
        self, request: Request, recipe: str, submission: SubmitRequest, key: IdempotencyKey | None
    ) -> tuple[Message, bool]:
        """Store the source; return the job's message.

        The flag is True if an earlier request with the idempotency key submitted the job.
        """
        # The random prefix keeps uploads apart, and makes the names of other clients' images hard to guess.
        name = submission.name if submission.image is None else f"{secrets.token_hex(8)}/{submission.name}"
        message = Message(recipe=recipe, container=submission.container, name=name, requested=True)
        is_repeated = False
        if submission.image is None:
            await self.jobs.sources.stat(submission.container, name)
        if key:
            target, is_repeated = await self.keys.reserve(key, message.model_dump(exclude_defaults=True))
            message = Message.model_validate(target)
        if submission.image is not None:
            request.reserve(min(2 * len(submission.image), MAX_STORING_BYTES))
            metadata = {TENANT_METADATA_KEY: submission.tenant} if submission.tenant else {}
            await self.jobs.sources.put(
                message.container, message.name, submission.image, submission.content_type, metadata
            )
        return message, is_repeated

    async def _recipe(self, submission: SubmitRequest) -> Recipe:
        """Return the recipe; store an ad-hoc recipe first. Raises RecipeError if it cannot be used."""
        if isinstance(submission.recipe, str):
            return await self.jobs.catalog.get(submission.recipe)
        return await self.jobs.catalog.adhoc.keep(submission.recipe)

    async def _await_job(self, message: Message, key: JobKey, wait_seconds: float) -> Entry | None:
        """Execute the job for at most `wait_seconds`; return its row, which may show that it has not ended."""
        if wait_seconds == 0:
            await self.jobs.submit(message)
            return None
        deadline = time.monotonic() + wait_seconds
        entry = await self._execute(message, wait_seconds)
        # Another worker may hold the claim, or the job may wait in the queue.
        while (entry is None or entry.state in PENDING_STATES) and time.monotonic() < deadline:
            entry = await self.jobs.ledger.get(key)
            if entry and entry.error_kind == COST_CAP:
                break
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
        return entry or await self.jobs.ledger.get(key)

    async def _execute(self, message: Message, wait_seconds: float) -> Entry | None:
        """Execute the job; return its row, or None after `wait_seconds`, when the job continues in the background.

        The recovery message is sent first: it executes the job again if this process dies.
        """
        recovery = await RecoveryMessage.put(self.jobs.queue, message, self.settings.claim_ttl)
        task = _in_background(self._execute_recoverably(message, recovery))
        done, _ = await asyncio.wait([task], timeout=wait_seconds)
        if done:
            return task.result()
        await self.jobs.list_queued(message)
        return None

    async def _execute_recoverably(self, message: Message, recovery: RecoveryMessage) -> Entry | None:
        entry = await replace(self.dispatcher, queue=recovery).execute_message(message, SUBMIT_POLICY, expected=False)
        _in_background(recovery.discard())
        return entry

    async def _ended(self, request: Request, entry: Entry, prefer: WaitPreference, wanted: ResultFormat) -> Response:
        """Return the response to a job that has ended: a problem, the image, or the job."""
        links = request.links
        headers = prefer.applied(accepted=False)
        if entry.state == "failed":
            error = PermanentError(entry.error_message, kind=entry.error_kind)
            return problem_response(problem(error, job=entry.key.id, stage=entry.stage), **headers)
        chosen = wanted.chosen([facts["name"] for facts in entry.renditions])
        facts = next((each for each in entry.renditions if each["name"] == chosen), None)
        location = {"Location": links.to("jobs", entry.key.id)}
        try:
            if facts and wanted.prefers_image(FORMATS[facts["format"]].content_type):
                return await self.images.rendition(request, entry, facts, headers)
        except RequestError as error:
            # The job is done, but in a format that the engine has chosen and the client does not accept.
            return problem_response(problem(error, job=entry.key.id), **headers, **location)
        return Response(JobDocument.of(entry, links), headers={**headers, **location})


def _accepted(key: JobKey, state: State, reason: str, links: Links, prefer: WaitPreference) -> Response:
    url = links.to("jobs", key.id)
    headers = {"Location": url, "Retry-After": str(RETRY_AFTER_SECONDS), **prefer.applied(accepted=True)}
    return Response(WaitingDocument(id=key.id, state=state, href=url, reason=reason), 202, headers)
