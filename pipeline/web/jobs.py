"""Jobs over HTTP: ask for one, look at one, fetch a rendition."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import azure.functions as func

from pipeline.deliveries import deliver
from pipeline.errors import JobOvertaken, PermanentError, PipelineError
from pipeline.services import Services
from pipeline.storage.keys import JobKey
from pipeline.storage.ledger import Entry, Version
from pipeline.storage.queue import Message
from pipeline.telemetry import logger
from pipeline.web.problems import RETRY_AFTER, problem, unexpected
from pipeline.web.requests import Preferences, Wanted, wanted

log = logger(__name__)
# Work that goes on after its request was answered; the loop itself keeps no reference to a task.
_going_on: set[asyncio.Task[Entry | None]] = set()


async def answered(answer: Callable[[], Awaitable[func.HttpResponse]]) -> func.HttpResponse:
    """An answer to every request: the handler's own, or a problem document."""
    try:
        return await answer()
    except PipelineError as error:
        return problem(error)
    except Exception:  # the boundary: no traceback may reach a user
        log.exception("a bug: the request gets no proper answer")
        return unexpected()


async def gone_on() -> None:
    """Wait for the jobs that go on after their requests were answered."""
    await asyncio.gather(*_going_on, return_exceptions=True)


async def submit(services: Services, request: func.HttpRequest) -> func.HttpResponse:
    """`POST /api/jobs`: do a job and answer with its renditions, or say where to look when that takes longer."""
    asked, prefer = wanted(request, services.settings), Preferences.of(request, services.settings)
    services.recipes.get(asked.recipe)
    message = await _bring_in(services, asked)
    key = JobKey.of(message.recipe, message.container, message.name)
    if prefer.wait == 0:
        await _queue(services, message, key)
        return _accepted(key)
    entry = await _wait(services, message, key, prefer.wait) or await services.ledger.get(key)
    if entry and entry.state == "overtaken":
        raise JobOvertaken(entry.error_message)
    if entry is None or entry.state not in ("done", "failed"):
        return _accepted(key)
    if prefer.image and entry.state == "done" and len(entry.renditions) == 1:
        return await _image(services, entry, entry.renditions[0]["name"])
    return _described(entry)


async def show(services: Services, job_id: str) -> func.HttpResponse:
    """`GET /api/jobs/{id}`: what happened to a job."""
    return _described(await _entry(services, job_id), status=200)


async def rendition(services: Services, job_id: str, name: str) -> func.HttpResponse:
    """`GET /api/jobs/{id}/renditions/{name}`: the rendition itself."""
    return await _image(services, await _entry(services, job_id), name)


async def _bring_in(services: Services, asked: Wanted) -> Message:
    """The job's message, once its source is in a container."""
    if asked.image is None:
        await services.sources.look(asked.container, asked.name)
        return Message(recipe=asked.recipe, container=asked.container, name=asked.name)
    # Never two requests under one name, and nobody can guess where another's image lies.
    name = f"{secrets.token_hex(8)}/{asked.name}"
    await services.sources.put(asked.container, name, asked.image, asked.content_type)
    return Message(recipe=asked.recipe, container=asked.container, name=name)


async def _queue(services: Services, message: Message, key: JobKey, delay: float = 0) -> None:
    waiting = Entry(key, message.container, message.name, state="queued", version=Version("", ""))
    await services.ledger.enqueue(waiting)
    await services.queue.send(message, delay)


async def _wait(services: Services, message: Message, key: JobKey, seconds: float) -> Entry | None:
    """The job's row when it ends in time; else it goes on, and the queue brings it back should this process die."""
    task = asyncio.create_task(deliver(services, message))
    _going_on.add(task)
    task.add_done_callback(_going_on.discard)
    done, _ = await asyncio.wait([task], timeout=seconds)
    if done:
        return task.result()
    await _queue(services, message, key, services.settings.claim_seconds)
    return None


async def _entry(services: Services, job_id: str) -> Entry:
    entry = await services.ledger.get(JobKey.parse(job_id))
    if entry is None:
        raise JobOvertaken(f"there is no job {job_id[:200]}", kind="unknown_job")
    return entry


async def _image(services: Services, entry: Entry, name: str) -> func.HttpResponse:
    path = next((one["path"] for one in entry.renditions if one["name"] == name), None)
    if entry.state != "done" or path is None:
        raise JobOvertaken(f"job {entry.key.id} has no rendition {name[:100]!r}", kind="rendition_gone")
    data, content_type = await services.renditions.read(path)
    headers = {"X-Content-Type-Options": "nosniff", "Content-Location": _address(entry.key, name)}
    return func.HttpResponse(data, mimetype=content_type, headers=headers)


def _described(entry: Entry, status: int | None = None) -> func.HttpResponse:
    if status is None and entry.state == "failed":
        return problem(PermanentError(entry.error_message, kind=entry.error_kind), job=entry.key.id, stage=entry.stage)
    return _json(describe(entry), 200)


def describe(entry: Entry) -> dict[str, Any]:
    """A job as JSON: its state, its renditions with their addresses, its error."""
    renditions = [
        {**{key: value for key, value in one.items() if key != "path"}, "href": _address(entry.key, one["name"])}
        for one in entry.renditions
    ]
    error = {"kind": entry.error_kind, "message": entry.error_message, "stage": entry.stage}
    return {
        "id": entry.key.id,
        "state": entry.state,
        "recipe": entry.key.recipe,
        "source": {"container": entry.container, "name": entry.name, "etag": entry.version.etag},
        "attempts": entry.attempts,
        "renditions": renditions,
        "error": error if entry.error_kind else None,
        "report": entry.report,
    }


def _address(key: JobKey, rendition_name: str) -> str:
    return f"/api/jobs/{key.id}/renditions/{quote(rendition_name)}"


def _accepted(key: JobKey) -> func.HttpResponse:
    address = f"/api/jobs/{key.id}"
    headers = {"Location": address, "Retry-After": str(RETRY_AFTER)}
    return _json({"id": key.id, "state": "queued", "href": address}, 202, headers)


def _json(document: dict[str, Any], status: int, headers: dict[str, str] | None = None) -> func.HttpResponse:
    body = json.dumps(document)
    return func.HttpResponse(body, status_code=status, headers=headers, mimetype="application/json")
