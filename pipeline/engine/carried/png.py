"""PNG: find information in the chunks."""

from __future__ import annotations

import zlib

from ..containers.png import walk_chunks
from .findings import MAX_BLOCK_BYTES, MAX_MANIFEST_BYTES, Findings
from .iim import iim_of_resources

XMP_KEYWORD = b"XML:com.adobe.xmp"
RAW_PROFILE = b"Raw profile type "
MAX_TEXTS = 16
"""Largest number of texts with metadata. Each may decompress to `MAX_BLOCK_BYTES`."""

_NAMES = {b"gMAP": "gain_map", b"gDAT": "gain_map"}


def find_in_png(body: memoryview, findings: Findings) -> None:
    """Find information in a PNG file."""
    texts = 0
    for chunk in walk_chunks(body):
        if chunk.name in _NAMES:
            findings.names.add(_NAMES[chunk.name])
        elif chunk.name == b"caBX":
            findings.add_manifests(bytes(body[chunk.offset : min(chunk.end, chunk.offset + MAX_MANIFEST_BYTES)]))
        elif chunk.name == b"IHDR":
            if chunk.length > 8 and body[chunk.offset + 8] == 16:
                findings.names.add("color_precision")
        elif chunk.name in (b"iTXt", b"tEXt", b"zTXt") and texts < MAX_TEXTS:
            data = bytes(body[chunk.offset : min(chunk.end, chunk.offset + MAX_BLOCK_BYTES)])
            if data.startswith((XMP_KEYWORD, RAW_PROFILE)):
                texts += 1
                _find_in_text(chunk.name, data, findings)


def _find_in_text(name: bytes, data: bytes, findings: Findings) -> None:
    """Find XMP and IPTC-IIM in a text chunk, also in the "raw profiles" that ImageMagick writes."""
    keyword, _, rest = data.partition(b"\0")
    if keyword == XMP_KEYWORD and name == b"iTXt":
        flags, text = rest[:2], rest[2:].split(b"\0", 2)[-1]
        findings.add_packet(_inflate(text) if flags[:1] == b"\x01" else text)
    elif keyword.startswith(RAW_PROFILE):
        kind = keyword.removeprefix(RAW_PROFILE).strip().lower()
        if kind not in (b"xmp", b"iptc", b"8bim"):
            return
        text = _inflate(rest[1:]) if name == b"zTXt" else rest.split(b"\0", 3)[-1] if name == b"iTXt" else rest
        profile = _raw_profile(text)
        if kind == b"xmp":
            findings.add_packet(profile)
        else:
            findings.add_iim(*(iim_of_resources(profile) if profile.startswith(b"8BIM") else [profile]))


def _inflate(data: bytes) -> bytes:
    """Decompress the first `MAX_BLOCK_BYTES` of a text."""
    return zlib.decompressobj().decompress(data, MAX_BLOCK_BYTES)


def _raw_profile(text: bytes) -> bytes:
    """Decode a raw profile: a line with its name, a line with its length in bytes, and hexadecimal digits."""
    parts = text.split(maxsplit=2)
    try:
        return bytes.fromhex(parts[2].decode("ascii"))[: int(parts[1])] if len(parts) == 3 else b""
    except ValueError:
        return b""
