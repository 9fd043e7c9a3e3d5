"""Images over HTTP, renditions and sources: bytes that no browser may take for anything else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.api.http import Request, Response
from pipeline.api.jobs import find
from pipeline.api.links import Links
from pipeline.api.submit_request import ANY_TYPE
from pipeline.engine.formats import FORMATS
from pipeline.engine.sniff import HEAD, sniff
from pipeline.errors import JobSuperseded, PermanentError
from pipeline.services import Services
from pipeline.storage.blobs import Source, unquoted
from pipeline.storage.ledger import Entry

# Whatever it is, it runs nothing, loads nothing, and stands in no other site's page.
SAFE = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


async def rendition(services: Services, call: Request) -> Response:
    """`GET /api/jobs/{id}/renditions/{name}`: the rendition itself."""
    entry, name = await find(services, call), call.parameter("name")
    facts = next((each for each in entry.renditions if each["name"] == name), None)
    if entry.state != "done" or facts is None:
        raise JobSuperseded(f"job {entry.key.id} has no rendition {name[:100]!r}", kind="rendition_gone")
    known = _unchanged(call, facts["sha256"], FORMATS[facts["format"]].content_type)
    return known or await of(services, entry, facts, call.links, {})


async def of(
    services: Services, entry: Entry, facts: Mapping[str, Any], links: Links, headers: Mapping[str, str]
) -> Response:
    """A rendition as an answer. PermanentError when it is too large for one."""
    _fits(services, facts["size"], "the output container has it")
    data, content_type = await services.renditions.read(facts["path"])
    name, extension = facts["name"], facts["path"].rpartition(".")[2]
    return Response(
        data,
        headers={
            **_kept(facts["sha256"]),
            **headers,
            "Content-Location": links.rendition(entry.key.id, name),
            "Content-Disposition": f'inline; filename="{_plain(name)}.{_plain(extension)}"',
        },
        media_type=content_type,
    )


async def source(services: Services, call: Request) -> Response:
    """`GET /api/jobs/{id}/source`: the version of the source that the job was about."""
    entry = await find(services, call)
    found = await _opened(services, entry)
    chunks = found.chunks()
    first = await anext(chunks, b"")
    kind = sniff(first[:HEAD]) or ""
    shown = kind in services.settings.format_names  # no SVG, whatever else a browser might run
    media_type = f"image/{kind.lower()}" if shown else ANY_TYPE
    known = _unchanged(call, found.etag, media_type)
    if known:
        return known
    headers = {
        **_kept(found.etag),
        "Content-Disposition": f'attachment; filename="{_plain(entry.name.rpartition("/")[2])}"',
    }
    return Response(b"".join([first, *[chunk async for chunk in chunks]]), headers=headers, media_type=media_type)


async def _opened(services: Services, entry: Entry) -> Source:
    """The source as the job saw it. JobSuperseded when it is gone or another one by now, PermanentError: too large."""
    found = await services.sources.open(entry.container, entry.name)
    if entry.version.etag and found.etag != unquoted(entry.version.etag):
        raise JobSuperseded(f"{entry.container}/{entry.name} has changed since", kind="source_changed")
    _fits(services, found.size, "the container has it")
    return found


def _kept(tag: str) -> dict[str, str]:
    """Whoever asked may keep it, and asks each time whether it still is the one."""
    return {**SAFE, "Cache-Control": "private, no-cache", "ETag": f'"{tag}"'}


def _unchanged(call: Request, tag: str, content_type: str) -> Response | None:
    """The answer to somebody who has it already (RFC 9110, 13.1.2)."""
    asked = [each.strip().removeprefix("W/") for each in call.header("if-none-match").split(",")]
    return Response(b"", 304, _kept(tag), content_type) if {"*", f'"{tag}"'} & set(asked) else None


def _fits(services: Services, size: int, elsewhere: str) -> None:
    most = services.settings.http_max_response_bytes
    if size > most:
        raise PermanentError(
            f"the image has {size:,} bytes; at most {most:,} go into an answer (PIPELINE_HTTP_MAX_RESPONSE_BYTES): "
            f"{elsewhere}",
            kind="answer_too_large",
        )


def _plain(text: str) -> str:
    """Fit to stand in a header, in quotes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[-100:] or "image"
