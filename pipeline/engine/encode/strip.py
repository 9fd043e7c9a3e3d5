"""Metadata stripping: replace the metadata of a file, but not its color profile, without decoding its pixels."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping

from ..carried.png import XMP_KEYWORD
from ..containers import jpeg, png, riff


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

_JPEG_END = re.compile(rb"\xff+\xd9")


def _jpeg(body: bytes, blocks: Mapping[str, bytes]) -> bytes:
    """Keep the segments of the first image (ITU-T T.81, B.1.1.2); of the application segments JFIF, ICC and Adobe.

    Data after the end may be another image, with its own metadata.
    """
    kept, place, scanned = [body[:2]], 2, True
    added = [*filter(None, [blocks.get("exif"), blocks.get("xmp") and jpeg.XMP_HEADER + blocks["xmp"]])]
    while scanned:
        scanned = False
        for marker, start, end in jpeg.walk_segments(memoryview(body), place):
            if body[place : start - 4].strip(b"\xff"):
                raise StripError("the segments of the JPEG are not contiguous")
            scanned = marker == jpeg.SOS
            place = _end_of_scan(body, end) if scanned else end
            wanted = _JPEG_KEPT.get(marker)
            application = 0xE0 <= marker <= 0xEF or marker == 0xFE
            if not application or (wanted and body[start:end].startswith(wanted)):
                kept.append(body[start - 4 : place])
    if not _JPEG_END.match(body, place):
        raise StripError("the segments of the JPEG are not contiguous")
    after_jfif = 2 if kept[1:] and kept[1].startswith(b"\xff\xe0") else 1
    kept[after_jfif:after_jfif] = [jpeg.build_segment(jpeg.APP1, block) for block in added]
    return b"".join([*kept, b"\xff\xd9"])


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


def _png(body: bytes, blocks: Mapping[str, bytes]) -> bytes:
    """Keep the chunks (ISO/IEC 15948, 5.3) that pixels and colors need."""
    kept = [body[: len(png.SIGNATURE)]]
    for chunk in png.walk_chunks(memoryview(body)):
        if chunk.name in _PNG_KEPT:
            kept.append(body[chunk.offset - 8 : chunk.end + 4])
        if chunk.name == b"IHDR":
            if "exif" in blocks:
                kept.append(png.build_chunk(b"eXIf", blocks["exif"].removeprefix(b"Exif\0\0")))
            if "xmp" in blocks:
                kept.append(png.build_chunk(b"iTXt", XMP_KEYWORD + b"\0" * 5 + blocks["xmp"]))
        if chunk.name == b"IEND":
            return b"".join(kept)
    raise StripError("the PNG has no end")


_WEBP_KEPT = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ICCP"}


def _webp(body: bytes, blocks: Mapping[str, bytes]) -> bytes:
    """Keep the chunks (RFC 9649, 2.7) that a still image and its colors need, and correct the flags of the others."""
    kept: dict[bytes, bytes] = {}
    view = memoryview(body)
    if riff.declared_end(view) > len(body):
        raise StripError("the WebP is truncated")
    for name, start, end in riff.walk_chunks(view):
        if name in (b"ANIM", b"ANMF"):
            raise StripError("the WebP is an animation")
        if name in _WEBP_KEPT:
            kept.setdefault(name, body[start - 8 : end + end % 2])
    added = {name: blocks[key] for key, name in (("exif", b"EXIF"), ("xmp", b"XMP ")) if key in blocks}
    if added and b"VP8X" not in kept:
        kept = {b"VP8X": _webp_header(kept), **kept}
    if b"VP8X" in kept:
        header = kept[b"VP8X"]
        flags = header[8] & ~0b0000_1100 | (0b1000 if b"EXIF" in added else 0) | (0b0100 if b"XMP " in added else 0)
        kept[b"VP8X"] = header[:8] + bytes([flags]) + header[9:]
    inner = b"WEBP" + b"".join(kept.values()) + b"".join(riff.build_chunk(name, data) for name, data in added.items())
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
    return riff.build_chunk(b"VP8X", bytes([alpha << 4, 0, 0, 0]) + sides)
