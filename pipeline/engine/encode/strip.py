"""Metadata taken out of a file without touching its pixels. Color profiles stay: without them colors would change."""

from __future__ import annotations

import re
from collections.abc import Iterator


class StripError(ValueError):
    """The file is not built as it should be."""


def strip_metadata(body: bytes, kind: str) -> bytes:
    """A JPEG, PNG or WEBP without its metadata. Raise StripError when it cannot be taken apart safely."""
    try:
        return {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp}[kind](body)
    except (IndexError, KeyError) as error:
        raise StripError(f"{kind} cannot be taken apart") from error


_JPEG_KEPT = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""What ends the data of a scan (ITU-T T.81, B.1.1.5): a marker that is neither stuffing, restart nor fill."""


def _jpeg(body: bytes) -> bytes:
    """Segments up to the end of the first image (ITU-T T.81, B.1.1.2); of the application data, JFIF, ICC and Adobe.

    What follows the end may be another picture, with metadata of its own.
    """
    kept, at = [body[:2]], 2
    while body[at] == 0xFF and body[at + 1] != 0xD9:
        marker, end = body[at + 1], at + 2 + int.from_bytes(body[at + 2 : at + 4], "big")
        if marker == 0xFF:  # a byte that fills up
            at += 1
            continue
        if marker == 0xDA:
            end = _end_of_scan(body, end)
        wanted = _JPEG_KEPT.get(marker)
        application = 0xE0 <= marker <= 0xEF or marker == 0xFE
        if not application or (wanted and body[at + 4 : end].startswith(wanted)):
            kept.append(body[at:end])
        at = end
    if body[at] != 0xFF:
        raise StripError("the segments of the JPEG do not follow one another")
    return b"".join([*kept, body[at : at + 2]])


def _end_of_scan(body: bytes, at: int) -> int:
    found = _NEXT_MARKER.search(body, at)
    if found is None:
        raise StripError("the JPEG has no end")
    return found.start()


_PNG_KEPT = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT"} | {
    b"cICP",
    b"mDCV",
    b"cLLI",
}


def _png(body: bytes) -> bytes:
    """Chunks (ISO/IEC 15948, 5.3) that pixels and colors need."""
    kept, at = [body[:8]], 8
    while at < len(body):
        length, name = int.from_bytes(body[at : at + 4], "big"), body[at + 4 : at + 8]
        if name in _PNG_KEPT:
            kept.append(body[at : at + 12 + length])
        if name == b"IEND":
            return b"".join(kept)
        at += 12 + length
    raise StripError("the PNG has no end")


_WEBP_KEPT = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ICCP"}


def _webp(body: bytes) -> bytes:
    """Chunks (RFC 9649, 2.7) that a still picture and its colors need; the flags of the others taken back."""
    kept = []
    for name, chunk in _riff(body):
        if name in (b"ANIM", b"ANMF"):
            raise StripError("the WebP is an animation")
        if name == b"VP8X":
            kept.append(chunk[:8] + bytes([chunk[8] & ~0b0000_1100]) + chunk[9:])
        elif name in _WEBP_KEPT:
            kept.append(chunk)
    inner = b"WEBP" + b"".join(kept)
    return b"RIFF" + len(inner).to_bytes(4, "little") + inner


def _riff(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of the file as its header has it; what follows is no part of it."""
    at, end = 12, 8 + int.from_bytes(body[4:8], "little")
    if end > len(body):
        raise StripError("the WebP is cut short")
    while at + 8 <= end:
        length = int.from_bytes(body[at + 4 : at + 8], "little")
        after = at + 8 + length + length % 2
        yield body[at : at + 4], body[at:after]
        at = after
