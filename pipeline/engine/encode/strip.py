"""Metadata stripping: replace the metadata of a file, but not its color profile, without decoding its pixels."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping

from ..carried.jpeg import XMP_MARK
from ..carried.png import XMP_KEYWORD


class StripError(ValueError):
    """The file has an unexpected structure."""


def strip_metadata(body: bytes, kind: str, blocks: Mapping[str, bytes] | None = None) -> bytes:
    """Return a JPEG, PNG or WebP file without its metadata, and with those of `blocks`: `exif` and `xmp`.

    Raises:
        StripError: the file cannot be taken apart safely, or cannot hold the metadata.
    """
    try:
        return {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp}[kind](body, blocks or {})
    except (IndexError, KeyError, struct.error) as error:
        raise StripError(f"{kind} cannot be taken apart") from error


_JPEG_KEPT = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""End of scan data (ITU-T T.81, B.1.1.5): a marker that is not stuffing, restart or fill."""


def _jpeg(body: bytes, blocks: Mapping[str, bytes]) -> bytes:
    """Keep the segments of the first image (ITU-T T.81, B.1.1.2); of the application segments JFIF, ICC and Adobe.

    Data after the end may be another image, with its own metadata.
    """
    kept, at = [body[:2]], 2
    added = [*filter(None, [blocks.get("exif"), blocks.get("xmp") and XMP_MARK + blocks["xmp"]])]
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
    after_jfif = 2 if kept[1:] and kept[1].startswith(b"\xff\xe0") else 1
    kept[after_jfif:after_jfif] = [b"\xff\xe1" + struct.pack(">H", 2 + len(block)) + block for block in added]
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


def _png_chunk(name: bytes, data: bytes) -> bytes:
    """Build a chunk."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png(body: bytes, blocks: Mapping[str, bytes]) -> bytes:
    """Keep the chunks (ISO/IEC 15948, 5.3) that pixels and colors need."""
    kept, at = [body[:8]], 8
    while at < len(body):
        length, name = int.from_bytes(body[at : at + 4], "big"), body[at + 4 : at + 8]
        if name in _PNG_KEPT:
            kept.append(body[at : at + 12 + length])
        if name == b"IHDR":
            if "exif" in blocks:
                kept.append(_png_chunk(b"eXIf", blocks["exif"].removeprefix(b"Exif\0\0")))
            if "xmp" in blocks:
                kept.append(_png_chunk(b"iTXt", XMP_KEYWORD + b"\0" * 5 + blocks["xmp"]))
        if name == b"IEND":
            return b"".join(kept)
        at += 12 + length
    raise StripError("the PNG has no end")


_WEBP_KEPT = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ICCP"}


def _webp(body: bytes, blocks: Mapping[str, bytes]) -> bytes:
    """Keep the chunks (RFC 9649, 2.7) that a still image and its colors need, and correct the flags of the others."""
    kept: dict[bytes, bytes] = {}
    for name, chunk in _riff(body):
        if name in (b"ANIM", b"ANMF"):
            raise StripError("the WebP is an animation")
        if name in _WEBP_KEPT:
            kept.setdefault(name, chunk)
    added = {name: blocks[key] for key, name in (("exif", b"EXIF"), ("xmp", b"XMP ")) if key in blocks}
    if added and b"VP8X" not in kept:
        kept = {b"VP8X": _webp_header(kept), **kept}
    if b"VP8X" in kept:
        header = kept[b"VP8X"]
        flags = header[8] & ~0b0000_1100 | (0b1000 if b"EXIF" in added else 0) | (0b0100 if b"XMP " in added else 0)
        kept[b"VP8X"] = header[:8] + bytes([flags]) + header[9:]
    inner = b"WEBP" + b"".join(kept.values()) + b"".join(_riff_chunk(name, data) for name, data in added.items())
    return b"RIFF" + len(inner).to_bytes(4, "little") + inner


def _webp_header(chunks: Mapping[bytes, bytes]) -> bytes:
    """Build the VP8X chunk of a file that has only a chunk of pixels (RFC 9649, 2.5 and 2.6)."""
    if b"VP8L" in chunks:
        bits = int.from_bytes(chunks[b"VP8L"][9:13], "little")
        width, height, alpha = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bits >> 28 & 1
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", chunks[b"VP8 "], 14))
        alpha = 0
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return _riff_chunk(b"VP8X", bytes([alpha << 4, 0, 0, 0]) + sides)


def _riff_chunk(name: bytes, data: bytes) -> bytes:
    """Build a chunk."""
    return name + len(data).to_bytes(4, "little") + data + b"\0" * (len(data) % 2)


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
