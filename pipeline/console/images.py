"""Sources and renditions as images of a page, served through the app: the console never links to storage.

A placeholder with the reason replaces an image that is missing, too large, or in a format that browsers cannot display.
Size limits hold for every request. The format is detected from the first bytes, not from the name or the stored type.
"""

import hashlib
from dataclasses import dataclass

import azure.functions as func
from markupsafe import escape

from pipeline.concurrency import ByteBudget
from pipeline.console import responses
from pipeline.console.request import ConsoleRequest
from pipeline.console.templates import HASH_DIGITS
from pipeline.engine.decode.sniff import HEAD_BYTES, detect_format
from pipeline.errors import JobSuperseded, PermanentError, RequestError
from pipeline.settings import MIB, Settings
from pipeline.storage import READ_COPIES, JobKey, Ledger, Renditions, Sources, is_blob_name

MAX_IMAGE_BYTES = 32 * MIB
MAX_THUMBNAIL_BYTES = 2 * MIB
TOO_LARGE, BUSY = "too large to display", "too many images at once: reload"
CACHE_SECONDS = 24 * 3600
"""A browser may cache an image for this time if its URL names the displayed version."""
CONTENT_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "BMP": "image/bmp",
}


@dataclass(frozen=True)
class ImageFiles:
    """Serve images of sources and renditions."""

    settings: Settings
    ledger: Ledger
    sources: Sources
    renditions: Renditions
    memory: ByteBudget

    async def blob(self, request: ConsoleRequest) -> func.HttpResponse:
        """`GET images/blob?source=`: serve a blob of the input or the upload container."""
        text = request.query.get("source", "")
        if not text:
            return _placeholder("no blob name")
        try:
            container, name = parse_source(text, self.settings)
        except RequestError:
            return _placeholder("not a blob name")
        return await self._serve_source(request, container, name)

    async def source(self, request: ConsoleRequest) -> func.HttpResponse:
        """`GET images/{id}/source`: serve the current source of a job."""
        entry = await self.ledger.get(JobKey.parse(request.parts["id"]))
        return await self._serve_source(request, entry.container, entry.name) if entry else _placeholder("not found")

    async def rendition(self, request: ConsoleRequest) -> func.HttpResponse:
        """`GET images/{id}/rendition/{name}`: serve a rendition of a job."""
        entry = await self.ledger.get(JobKey.parse(request.parts["id"]))
        renditions = entry.renditions if entry else []
        facts = next((each for each in renditions if each["name"] == request.parts["name"]), None)
        if facts is None:
            return _placeholder("not found")
        if int(facts["size"]) > _max_bytes(request):
            return _placeholder(TOO_LARGE)
        with self.memory.reservation() as reserved:
            if not reserved.add(READ_COPIES * int(facts["size"])):
                return _placeholder(BUSY)
            try:
                data, _ = await self.renditions.read(facts["path"], _max_bytes(request))
            except JobSuperseded:
                return _placeholder("not found")
            except PermanentError:
                return _placeholder(TOO_LARGE)
        # A running job may have replaced the rendition under this path.
        is_same = hashlib.sha256(data).hexdigest() == facts["sha256"]
        return _image(data, may_cache=is_same and _is_version(request, str(facts["sha256"])[:HASH_DIGITS]))

    async def _serve_source(self, request: ConsoleRequest, container: str, name: str) -> func.HttpResponse:
        try:
            source = await self.sources.open(container, name)
        except (JobSuperseded, PermanentError):
            return _placeholder("not found")
        if source.size > _max_bytes(request):
            return _placeholder(TOO_LARGE)
        with self.memory.reservation() as reserved:
            if not reserved.add(READ_COPIES * source.size):
                return _placeholder(BUSY)
            try:
                data = b"".join([chunk async for chunk in source.chunks()])
            except JobSuperseded:
                return _placeholder("changed while loading")
        return _image(data, may_cache=_is_version(request, source.etag))


def parse_source(text: str, settings: Settings) -> tuple[str, str]:
    """Return the container and the blob name of a source; the input container if the text names none.

    Raises RequestError if the name is not a valid blob name.
    """
    container, _, name = text.partition("/")
    if container not in (settings.input_container, settings.upload_container):
        container, name = settings.input_container, text
    if not is_blob_name(name):
        raise RequestError("invalid blob name: it must not start with a slash, and no part of it may be '.' or '..'")
    return container, name


def _is_version(request: ConsoleRequest, version: str) -> bool:
    """Tell if the URL names the version of the image: such a URL never shows another version."""
    return request.query.get("v") == version


def _max_bytes(request: ConsoleRequest) -> int:
    return MAX_THUMBNAIL_BYTES if "thumbnail" in request.query else MAX_IMAGE_BYTES


def _image(data: bytes, *, may_cache: bool) -> func.HttpResponse:
    kind = detect_format(data[:HEAD_BYTES])
    if kind not in CONTENT_TYPES:
        return _placeholder(f"browsers cannot display {kind}" if kind else "not an image")
    return responses.image(data, CONTENT_TYPES[kind], CACHE_SECONDS if may_cache else 0)


def _placeholder(text: str) -> func.HttpResponse:
    """Return a drawing with the reason in words. Its colors suit light and dark pages."""
    drawing = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 240 160" width="240" height="160">'
        '<g fill="none" stroke="#7b8496" stroke-width="3"><rect x="84" y="32" width="72" height="54" rx="6"/>'
        '<path d="M90 78l18-22 13 14 9-9 20 17M80 96L162 24"/></g>'
        '<text x="120" y="124" text-anchor="middle" font-family="sans-serif" font-size="15" fill="#7b8496">'
        f"{escape(text)}</text></svg>"
    )
    return responses.image(drawing.encode(), "image/svg+xml")
