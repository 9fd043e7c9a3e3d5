"""Metadata taken out of a file without touching its pixels. Colour profiles stay: without them colours would change."""

from __future__ import annotations

from collections.abc import Iterator


class StripError(ValueError):
    """The file is not built as it should be."""


def stripped(body: bytes, kind: str) -> bytes:
    """A JPEG, PNG or WEBP without its metadata. Raise StripError when it cannot be taken apart safely."""
    try:
        return {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp}[kind](body)
    except (IndexError, KeyError) as error:
        raise StripError(f"{kind} cannot be taken apart") from error


def _jpeg(body: bytes) -> bytes:
    """Segments up to the first scan (ITU-T T.81, B.1.1.2); of the application data only JFIF, ICC and Adobe stay."""
    kept, at = [body[:2]], 2
    while body[at] == 0xFF and body[at + 1] != 0xDA:
        marker, length = body[at + 1], int.from_bytes(body[at + 2 : at + 4], "big")
        segment = body[at : at + 2 + length]
        wanted = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}.get(marker)
        application = 0xE0 <= marker <= 0xEF or marker == 0xFE
        if not application or (wanted and segment[4:].startswith(wanted)):
            kept.append(segment)
        at += 2 + length
    if body[at] != 0xFF:
        raise StripError("the segments of the JPEG do not follow one another")
    end = body.rfind(b"\xff\xd9")
    # What follows the end of the image may be another picture, with metadata of its own.
    if body.find(b"\xff\xd8\xff", at) >= 0 or end < at:
        raise StripError("the JPEG holds more than one picture")
    return b"".join([*kept, body[at : end + 2]])


_PNG_KEPT = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT"}


def _png(body: bytes) -> bytes:
    """Chunks (ISO/IEC 15948, 5.3) that pixels and colours need."""
    kept, at = [body[:8]], 8
    while at < len(body):
        length, name = int.from_bytes(body[at : at + 4], "big"), body[at + 4 : at + 8]
        if name in _PNG_KEPT:
            kept.append(body[at : at + 12 + length])
        if name == b"IEND":
            return b"".join(kept)
        at += 12 + length
    raise StripError("the PNG has no end")


def _webp(body: bytes) -> bytes:
    """Chunks (RFC 9649, 2.7) but EXIF and XMP, and their flags taken back."""
    kept = []
    for name, chunk in _riff(body):
        if name == b"VP8X":
            kept.append(chunk[:8] + bytes([chunk[8] & ~0b0000_1100]) + chunk[9:])
        elif name not in (b"EXIF", b"XMP "):
            kept.append(chunk)
    inner = b"WEBP" + b"".join(kept)
    return b"RIFF" + len(inner).to_bytes(4, "little") + inner


def _riff(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + 8 <= len(body):
        length = int.from_bytes(body[at + 4 : at + 8], "little")
        end = at + 8 + length + length % 2
        yield body[at : at + 4], body[at:end]
        at = end
