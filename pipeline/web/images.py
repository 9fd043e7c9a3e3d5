"""Images over HTTP, renditions and sources: bytes that no browser may take for anything else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.errors import JobOvertaken, PermanentError
from pipeline.services import Services
from pipeline.storage.blobs import plain
from pipeline.storage.ledger import Entry
from pipeline.transforms.sniff import HEAD, sniff
from pipeline.web.http import Answer, Call
from pipeline.web.jobs import find
from pipeline.web.links import Links
from pipeline.web.submissions import ANY_TYPE

# Whatever it is, it runs nothing, loads nothing, and stands in no other site's page.
SAFE = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


async def rendition(services: Services, call: Call) -> Answer:
    """`GET /api/jobs/{id}/renditions/{name}`: the rendition itself."""
    entry, name = await find(services, call), call.parameter("name")
    facts = next((each for each in entry.renditions if each["name"] == name), None)
    if entry.state != "done" or facts is None:
        raise JobOvertaken(f"job {entry.key.id} has no rendition {name[:100]!r}", kind="rendition_gone")
    tag = f'"{facts["sha256"]}"'
    if tag in call.header("if-none-match"):
        return Answer(b"", 304, {"ETag": tag})
    return await of(services, entry, facts, call.links, {})


async def of(
    services: Services, entry: Entry, facts: Mapping[str, Any], links: Links, headers: Mapping[str, str]
) -> Answer:
    """A rendition as an answer. PermanentError when it is too large for one."""
    _fits(services, facts["size"], "the output container has it")
    data, content_type = await services.renditions.read(facts["path"])
    name, extension = facts["name"], facts["path"].rpartition(".")[2]
    return Answer(
        data,
        headers={
            **SAFE,
            **headers,
            "Content-Location": links.rendition(entry.key.id, name),
            "Content-Disposition": f'inline; filename="{_plain(name)}.{_plain(extension)}"',
            "Cache-Control": "private, no-cache",
            "ETag": f'"{facts["sha256"]}"',
        },
        media_type=content_type,
    )


async def source(services: Services, call: Call) -> Answer:
    """`GET /api/jobs/{id}/source`: the version of the source that the job was about."""
    entry = await find(services, call)
    data, etag = await read_source(services, entry)
    kind = sniff(data[:HEAD]) or ""
    known = kind in services.settings.allowed_formats  # no SVG, whatever else a browser might run
    headers = {
        **SAFE,
        "Content-Disposition": f'attachment; filename="{_plain(entry.name.rpartition("/")[2])}"',
        "Cache-Control": "private, no-cache",
        "ETag": f'"{etag}"',
    }
    return Answer(data, headers=headers, media_type=f"image/{kind.lower()}" if known else ANY_TYPE)


async def read_source(services: Services, entry: Entry) -> tuple[bytes, str]:
    """The source's bytes and its ETag. JobOvertaken when it is gone or another one by now."""
    found = await services.sources.open(entry.container, entry.name)
    if entry.version.etag and found.etag != plain(entry.version.etag):
        raise JobOvertaken(f"{entry.container}/{entry.name} has changed since", kind="source_changed")
    _fits(services, found.size, "the container has it")
    return b"".join([chunk async for chunk in found.chunks()]), found.etag


def _fits(services: Services, size: int, elsewhere: str) -> None:
    most = services.settings.http_answer_bytes
    if size > most:
        raise PermanentError(
            f"the image has {size:,} bytes; at most {most:,} go into an answer (PIPELINE_HTTP_ANSWER_BYTES): "
            f"{elsewhere}",
            kind="answer_too_large",
        )


def _plain(text: str) -> str:
    """Fit to stand in a header, in quotes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[-100:] or "image"
