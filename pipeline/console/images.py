"""Sources and renditions as pictures in a page: through this app, so that no link to storage ever leaves it.

What is not a picture that browsers show, or too large, or gone, becomes a drawn sign that says so: a page with a broken
image says nothing. Limits hold for every request; formats go by the first bytes, never by a name or a stored type.
"""

from __future__ import annotations

import hashlib

import azure.functions as func
from markupsafe import escape

from pipeline.console import responses
from pipeline.console.request import ConsoleRequest
from pipeline.console.templates import VERSION
from pipeline.engine.decode.sniff import HEAD_BYTES, detect_format
from pipeline.errors import JobSuperseded, PermanentError, RequestError
from pipeline.settings import MIB
from pipeline.storage.blob_names import is_blob_name
from pipeline.storage.keys import JobKey

LARGEST = 32 * MIB
SMALL = 2 * MIB
"""The largest picture that stands as a small one in a list."""
KEEP = 24 * 3600
"""Seconds for which a browser may keep a picture whose address names the version that it shows."""
TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "BMP": "image/bmp",
}


async def blob(visit: ConsoleRequest) -> func.HttpResponse:
    """`GET pictures/blob?source=`: a blob of a container that jobs read from; a bare name is one of the input's."""
    asked = visit.query.get("source", "")
    if not asked:
        return _sign("no name")
    try:
        container, name = blob_of(visit, asked)
    except RequestError:
        return _sign("not a blob's name")
    return await _source(visit, container, name)


def blob_of(visit: ConsoleRequest, asked: str) -> tuple[str, str]:
    """Container and name of a blob: a bare name is one of the input's. RequestError when it is no name of a blob."""
    settings = visit.services.settings
    container, _, name = asked.partition("/")
    if container not in (settings.input_container, settings.upload_container):
        container, name = settings.input_container, asked
    if not is_blob_name(name):
        raise RequestError(
            "that is no name of a blob: no part of it may be '.' or '..', and it does not start with a slash"
        )
    return container, name


async def source(visit: ConsoleRequest) -> func.HttpResponse:
    """`GET pictures/{id}/source`: the source of a job, as it is now."""
    entry = await visit.services.ledger.get(JobKey.parse(visit.parts["id"]))
    return await _source(visit, entry.container, entry.name) if entry else _sign("gone")


async def rendition(visit: ConsoleRequest) -> func.HttpResponse:
    """`GET pictures/{id}/rendition/{name}`: one of a job's renditions."""
    entry = await visit.services.ledger.get(JobKey.parse(visit.parts["id"]))
    made = entry.renditions if entry else []
    found = next((one for one in made if one["name"] == visit.parts["name"]), None)
    if found is None:
        return _sign("gone")
    if int(found["size"]) > _most(visit):
        return _sign("too large to show here")
    try:
        data, _ = await visit.services.renditions.read(found["path"])
    except JobSuperseded:
        return _sign("gone")
    # Its path may hold another by now, which a job that runs has put there.
    kept = _is_asked(visit, str(found["sha256"])[:VERSION]) and hashlib.sha256(data).hexdigest() == found["sha256"]
    return _picture(data, kept=kept)


async def _source(visit: ConsoleRequest, container: str, name: str) -> func.HttpResponse:
    try:
        found = await visit.services.sources.open(container, name)
    except (JobSuperseded, PermanentError):
        return _sign("gone")
    if found.size > _most(visit):
        return _sign("too large to show here")
    try:
        data = b"".join([chunk async for chunk in found.chunks()])
    except JobSuperseded:
        return _sign("changed just now")
    return _picture(data, kept=_is_asked(visit, found.etag))


def _is_asked(visit: ConsoleRequest, version: str) -> bool:
    """Whether the address names the version that is shown: the same address never shows another one then."""
    return visit.query.get("v") == version


def _most(visit: ConsoleRequest) -> int:
    return SMALL if "small" in visit.query else LARGEST


def _picture(data: bytes, *, kept: bool) -> func.HttpResponse:
    kind = detect_format(data[:HEAD_BYTES])
    if kind not in TYPES:
        return _sign(f"{kind}: browsers do not show it" if kind else "not an image")
    return responses.picture(data, TYPES[kind], KEEP if kept else 0)


def _sign(text: str) -> func.HttpResponse:
    """A drawing in the place of a picture, with the reason in words; it suits light and dark pages."""
    drawn = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 240 160" width="240" height="160">'
        '<g fill="none" stroke="#7b8496" stroke-width="3"><rect x="84" y="32" width="72" height="54" rx="6"/>'
        '<path d="M90 78l18-22 13 14 9-9 20 17M80 96L162 24"/></g>'
        '<text x="120" y="124" text-anchor="middle" font-family="sans-serif" font-size="15" fill="#7b8496">'
        f"{escape(text)}</text></svg>"
    )
    return responses.picture(drawn.encode(), "image/svg+xml")
