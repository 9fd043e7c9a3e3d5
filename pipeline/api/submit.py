"""`POST /api/jobs`: do a job and answer with its renditions, or say where to look when that takes longer."""

from __future__ import annotations

import asyncio
import secrets
import time

from pipeline.api import idempotency, images
from pipeline.api.http import Request, Response, problem_response
from pipeline.api.links import Links
from pipeline.api.preferences import Preferences
from pipeline.api.problems import RETRY_AFTER, problem
from pipeline.api.schemas import AcceptedDocument, JobDocument
from pipeline.api.submit_request import SubmitRequest, wanted
from pipeline.errors import JobSuperseded, PermanentError, StateConflict
from pipeline.jobs.rendering import SchedulingPolicy
from pipeline.services import Services
from pipeline.storage.entry import Entry, State
from pipeline.storage.keys import JobKey
from pipeline.storage.queue import Message

FINAL, UNDER_WAY = ("done", "failed"), ("queued", "running")
LOOK_EVERY = 0.5
# Somebody waits for the answer.
ASKED = SchedulingPolicy("interactive")
# Work that goes on after its request was answered; the loop itself keeps no reference to a task.
_background_jobs: set[asyncio.Task[Entry | None]] = set()


async def drain_background_jobs() -> None:
    """Wait for the jobs that go on after their requests were answered."""
    await asyncio.gather(*_background_jobs, return_exceptions=True)


async def submit(services: Services, call: Request) -> Response:
    """Answer a request for a job."""
    asked, prefer = wanted(call, services.settings), Preferences.of(call, services.settings)
    key_text = idempotency.checked(call.header("idempotency-key"))
    message, before = await _resolve_request(services, asked, key_text)
    key = JobKey.of(message.recipe, message.container, message.name)
    entry = await services.ledger.get(key) if before else None
    if entry is None or entry.state not in FINAL:
        entry = await _await_job(services, message, key, prefer.wait)
    _check(entry)
    if entry is None or entry.state not in FINAL:
        return _accepted(key, entry.state if entry else "queued", call.links, prefer)
    return await _ended(services, call, entry, prefer)


def _check(entry: Entry | None) -> None:
    if entry and entry.state == "superseded":
        raise JobSuperseded(entry.error_message)
    if entry and entry.state == "dismissed":
        raise StateConflict("the job was dismissed: retry it to have it done", kind="job_dismissed")


async def _resolve_request(services: Services, asked: SubmitRequest, key: str) -> tuple[Message, bool]:
    """The job's message, once its recipe is known and its source stored, and whether it was asked for before."""
    recipe = await _recipe(services, asked)
    # Never two requests under one name, and nobody can guess where another's image lies.
    name = asked.name if asked.image is None else f"{secrets.token_hex(8)}/{asked.name}"
    message, before = Message(recipe=recipe, container=asked.container, name=name), False
    if asked.image is None:
        await services.sources.stat(asked.container, name)
    if key:
        begins = message.model_dump(exclude_defaults=True)
        begins, before = await idempotency.settle(services, idempotency.Key(key, asked.fingerprint), begins)
        message = Message.model_validate(begins)
    if asked.image is not None:
        await services.sources.put(message.container, message.name, asked.image, asked.content_type)
    return message, before


async def _recipe(services: Services, asked: SubmitRequest) -> str:
    """The name of the recipe that is asked for. RecipeError when it cannot be had."""
    if isinstance(asked.recipe, str):
        return (await services.catalog.get(asked.recipe)).name
    return (await services.adhoc_recipes.keep(asked.recipe)).name


async def _await_job(services: Services, message: Message, key: JobKey, seconds: float) -> Entry | None:
    """The job's row when it ends in time, or what the ledger says of it now."""
    if seconds == 0:
        await services.jobs.submit(message)
        return None
    until = time.monotonic() + seconds
    entry = await _wait(services, message, seconds)
    # Another process may be on it, or it may wait in the queue for its turn.
    while (entry is None or entry.state in UNDER_WAY) and time.monotonic() < until:
        await asyncio.sleep(LOOK_EVERY)
        entry = await services.ledger.get(key)
    return entry or await services.ledger.get(key)


async def _wait(services: Services, message: Message, seconds: float) -> Entry | None:
    """The job's row when it ends in time; else it goes on, and the queue brings it back should this process die."""
    task = asyncio.create_task(services.dispatcher.execute_message(message, ASKED))
    _background_jobs.add(task)
    task.add_done_callback(_background_jobs.discard)
    done, _ = await asyncio.wait([task], timeout=seconds)
    if done:
        return task.result()
    await services.jobs.submit(message, services.settings.claim_ttl)
    return None


async def _ended(services: Services, call: Request, entry: Entry, prefer: Preferences) -> Response:
    applied = prefer.applied(accepted=False)
    if entry.state == "failed":
        error = PermanentError(entry.error_message, kind=entry.error_kind)
        return problem_response(problem(error, job=entry.key.id, stage=entry.stage), **applied)
    if prefer.image and len(entry.renditions) == 1:
        return await images.of(services, entry, entry.renditions[0], call.links, applied)
    return Response(JobDocument.of(entry, call.links), headers={**applied, "Location": call.links.job(entry.key.id)})


def _accepted(key: JobKey, state: State, links: Links, prefer: Preferences) -> Response:
    address = links.job(key.id)
    headers = {"Location": address, "Retry-After": str(RETRY_AFTER), **prefer.applied(accepted=True)}
    return Response(AcceptedDocument(id=key.id, state=state, href=address), 202, headers)
