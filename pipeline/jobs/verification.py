"""What came out of a session is believed only as far as it was declared, and after it was checked."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

from pipeline.errors import SessionReplyError
from pipeline.pool.report import RenditionFacts, SessionReport
from pipeline.settings import Settings

HEAD = 16


def declared(
    report: SessionReport, files: dict[str, str], formats: dict[str, tuple[str, ...]], settings: Settings
) -> dict[str, RenditionFacts]:
    """The reported renditions by name: exactly those in `files`, each in one of its formats and within the limits."""
    reported = {facts.name: facts for facts in report.renditions}
    if {name: facts.file for name, facts in reported.items()} != files or len(reported) != len(report.renditions):
        raise SessionReplyError("the session reports other renditions than the recipe declares")
    for facts in reported.values():
        if facts.format not in formats[facts.name]:
            raise SessionReplyError(f"rendition {facts.name} came as {facts.format}, which its recipe does not allow")
        if facts.size > settings.max_rendition_bytes or facts.width * facts.height > settings.max_rendition_pixels:
            raise SessionReplyError(f"rendition {facts.name} is over the limits on bytes or pixels")
    return reported


async def checked(chunks: AsyncIterator[bytes], facts: RenditionFacts) -> AsyncIterator[bytes]:
    """The chunks of a rendition again; SessionReplyError when they are not what the report says."""
    digest, size, head = hashlib.sha256(), 0, b""
    async for chunk in chunks:
        size += len(chunk)
        if size > facts.size:
            break
        digest.update(chunk)
        head = (head + chunk)[:HEAD]
        yield chunk
    if size != facts.size or digest.hexdigest() != facts.sha256:
        raise SessionReplyError(f"rendition {facts.name} came with another size or checksum than reported")
    if not _has_format(head, facts.format):
        raise SessionReplyError(f"rendition {facts.name} is not {facts.format}: its first bytes say otherwise")


def _has_format(head: bytes, name: str) -> bool:
    """Whether a file of that format can begin like this (the signatures of the formats' own specifications)."""
    match name.upper():
        case "JPEG":
            return head.startswith(b"\xff\xd8\xff")
        case "PNG":
            return head.startswith(b"\x89PNG\r\n\x1a\n")
        case "GIF":
            return head.startswith((b"GIF87a", b"GIF89a"))
        case "WEBP":
            return head[:4] == b"RIFF" and head[8:12] == b"WEBP"
        case "TIFF":
            return head.startswith((b"II*\0", b"MM\0*"))
        case "AVIF":
            return head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis", b"mif1", b"msf1", b"miaf")
        case _:
            return False
