"""Verify the output of a session: only declared renditions within the limits, with matching bytes, are accepted."""

import hashlib
from collections.abc import AsyncIterator

from pipeline.errors import SessionReplyError
from pipeline.pool.report import RenditionFacts, SessionReport
from pipeline.settings import Settings

SIGNATURE_BYTES = 16


def check_report(
    report: SessionReport, files: dict[str, str], formats: dict[str, tuple[str, ...]], settings: Settings
) -> dict[str, RenditionFacts]:
    """Check that a report lists exactly the declared renditions, each in an allowed format and within the limits.

    Args:
        report: The report of the session.
        files: The file in the session of each declared rendition, by the rendition's name.
        formats: The formats that the recipe allows for each rendition.
        settings: The limits on bytes and pixels of a rendition.

    Returns:
        The reported facts of each rendition, by its name.

    Raises:
        SessionReplyError: The report differs from the declaration.
    """
    reported = {facts.name: facts for facts in report.renditions}
    if {name: facts.file for name, facts in reported.items()} != files or len(reported) != len(report.renditions):
        raise SessionReplyError("the session's report lists other renditions than the recipe declares")
    for facts in reported.values():
        if facts.format not in formats[facts.name]:
            raise SessionReplyError(f"rendition {facts.name} came as {facts.format}, which its recipe does not allow")
        if facts.size > settings.max_rendition_bytes or facts.width * facts.height > settings.max_rendition_pixels:
            raise SessionReplyError(f"rendition {facts.name} exceeds the limits on bytes or pixels")
    return reported


async def check_bytes(chunks: AsyncIterator[bytes], facts: RenditionFacts) -> AsyncIterator[bytes]:
    """Yield the chunks of a rendition; raise SessionReplyError if size, checksum or signature contradict the report."""
    digest, size, head = hashlib.sha256(), 0, b""
    async for chunk in chunks:
        size += len(chunk)
        if size > facts.size:
            break
        digest.update(chunk)
        head = (head + chunk)[:SIGNATURE_BYTES]
        yield chunk
    if size != facts.size or digest.hexdigest() != facts.sha256:
        raise SessionReplyError(f"rendition {facts.name} differs from its report in size or checksum")
    if not _has_format(head, facts.format):
        raise SessionReplyError(f"rendition {facts.name} does not begin with the signature of {facts.format}")


def _has_format(head: bytes, name: str) -> bool:
    """Return True if `head` begins with the signature of the format, as its specification defines it."""
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
