"""HTTP handlers of images: return renditions and sources, with headers that keep browsers from executing them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.api.http import Request, Response
from pipeline.api.jobs import job_key
from pipeline.api.uploads import ANY_TYPE
from pipeline.engine.decode.sniff import HEAD_BYTES, detect_format
from pipeline.engine.encode.formats import FORMATS
from pipeline.errors import JobSuperseded, PermanentError
from pipeline.jobs.actions import JobActions
from pipeline.settings import Settings
from pipeline.storage import READ_COPIES, Entry, Renditions, Source, Sources, unquoted

# A browser must not execute the bytes, load anything for them, or embed them in the page of another site.
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True)
class ImageHandlers:
    """Handlers of renditions and sources."""

    settings: Settings
    jobs: JobActions
    sources: Sources
    renditions: Renditions

    async def show_rendition(self, request: Request) -> Response:
        """Handle `GET /api/jobs/{id}/renditions/{name}`: return a rendition."""
        entry, name = await self.jobs.get(job_key(request)), request.parameter("name")
        facts = next((each for each in entry.renditions if each["name"] == name), None)
        if entry.state != "done" or facts is None:
            raise JobSuperseded(f"job {entry.key.id} has no rendition {name[:100]!r}", kind="rendition_gone")
        unchanged = _not_modified(request, facts["sha256"], FORMATS[facts["format"]].content_type)
        return unchanged or await self.rendition(request, entry, facts, {})

    async def rendition(
        self, request: Request, entry: Entry, facts: Mapping[str, Any], headers: Mapping[str, str]
    ) -> Response:
        """Return a rendition as a response.

        Raises:
            PermanentError: It is too large for a response.
            TransientError: Other requests hold the memory.
        """
        links, limit = request.links, self.settings.http_max_response_bytes
        self._check_size(facts["size"], "read it from the output container")
        request.reserve(READ_COPIES * facts["size"])
        # Another program may have written a larger blob there.
        data, content_type = await self.renditions.read(facts["path"], limit)
        name, extension = facts["name"], facts["path"].rpartition(".")[2]
        return Response(
            data,
            headers={
                **_cache_headers(facts["sha256"]),
                **headers,
                "Content-Location": links.to("jobs", entry.key.id, "renditions", name),
                "Content-Disposition": f'inline; filename="{_header_safe(name)}.{_header_safe(extension)}"',
            },
            media_type=content_type,
        )

    async def show_source(self, request: Request) -> Response:
        """Handle `GET /api/jobs/{id}/source`: return the version of the source that the job processed."""
        entry = await self.jobs.get(job_key(request))
        source = await self._open_source(entry)
        chunks = source.chunks()
        first = await anext(chunks, b"")
        # Content of any other format, SVG included, is a download of unknown type: a browser must not run it.
        kind = detect_format(first[:HEAD_BYTES]) or ""
        media_type = f"image/{kind.lower()}" if kind in self.settings.format_names else ANY_TYPE
        if unchanged := _not_modified(request, source.etag, media_type):
            return unchanged
        request.reserve(READ_COPIES * source.size)
        filename = _header_safe(entry.name.rpartition("/")[2])
        headers = {**_cache_headers(source.etag), "Content-Disposition": f'attachment; filename="{filename}"'}
        return Response(b"".join([first, *[chunk async for chunk in chunks]]), headers=headers, media_type=media_type)

    async def _open_source(self, entry: Entry) -> Source:
        """Open the source of a job.

        Raises:
            JobSuperseded: The source is gone or has changed.
            PermanentError: The source is too large for a response.
        """
        source = await self.sources.open(entry.container, entry.name)
        if entry.version.etag and source.etag != unquoted(entry.version.etag):
            raise JobSuperseded(f"{entry.container}/{entry.name} has changed since the job", kind="source_changed")
        self._check_size(source.size, "read it from its container")
        return source

    def _check_size(self, size: int, advice: str) -> None:
        limit = self.settings.http_max_response_bytes
        if size > limit:
            raise PermanentError(
                f"the image has {size:,} bytes, more than a response may have ({limit:,} bytes, "
                f"PIPELINE_HTTP_MAX_RESPONSE_BYTES): {advice}",
                kind="response_too_large",
            )


def _cache_headers(etag: str) -> dict[str, str]:
    """Let the client cache the image if it revalidates it with its ETag at every use."""
    return {**SECURITY_HEADERS, "Cache-Control": "private, no-cache", "ETag": f'"{etag}"'}


def _not_modified(request: Request, etag: str, content_type: str) -> Response | None:
    """Return a 304 response if `If-None-Match` holds the ETag (RFC 9110, section 13.1.2), else None."""
    cached = {each.strip().removeprefix("W/") for each in request.header("if-none-match").split(",")}
    return Response(b"", 304, _cache_headers(etag), content_type) if {"*", f'"{etag}"'} & cached else None


def _header_safe(text: str) -> str:
    """Reduce a file name to characters that are safe in a quoted header value."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[-100:] or "image"
