"""Metadata stripping: remove metadata, but not color profiles, from a file without decoding its pixels."""

from __future__ import annotations

import re
from collections.abc import Iterator


class StripError(ValueError):
    """The file has an unexpected structure."""


def strip_metadata(body: bytes, kind: str) -> bytes:
    """Return a JPEG, PNG or WebP file without its metadata.

    Raises:
        StripError: the file cannot be taken apart safely.
    """
    try:
        return {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp}[kind](body)
    except (IndexError, KeyError) as error:
        raise StripError(f"{kind} cannot be taken apart") from error


_JPEG_KEPT = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""End of scan data (ITU-T T.81, B.1.1.5): a marker that is not stuffing, restart or fill."""


def _jpeg(body: bytes) -> bytes:
    """Keep the segments of the first image (ITU-T T.81, B.1.1.2); of the application segments JFIF, ICC and Adobe.

    Data after the end may be another image, with its own metadata.
    """
    kept, at = [body[:2]], 2
    while body[at] == 0xFF and body[at + 1] != 0xD9:
        marker, end = body[at + 1], at + 2 + int.from_bytes(body[at + 2 : at + 4], "big")
        if marker == 0xFF:  # a fill byte
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
        raise StripError("the segments of the JPEG are not contiguous")
    return b"".join([*kept, body[at : at + 2]])


def _end_of_scan(body: bytes, at: int) -> int:
    """Find the marker that ends a scan."""
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
    """Keep the chunks (ISO/IEC 15948, 5.3) that pixels and colors need."""
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
    """Keep the chunks (RFC 9649, 2.7) that a still image and its colors need, and clear the flags of the others."""
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
    """Yield the chunks within the length that the header declares; later data is not part of the file."""
    at, end = 12, 8 + int.from_bytes(body[4:8], "little")
    if end > len(body):
        raise StripError("the WebP is truncated")
    while at + 8 <= end:
        length = int.from_bytes(body[at + 4 : at + 8], "little")
        after = at + 8 + length + length % 2
        yield body[at : at + 4], body[at:after]
        at = after
