"""WebP: find information in the chunks."""

from __future__ import annotations

from ..containers.riff import walk_chunks
from .findings import MAX_BLOCK_BYTES, MAX_MANIFEST_BYTES, Findings


def find_in_webp(body: memoryview, findings: Findings) -> None:
    """Find information in a WebP file."""
    for name, start, end in walk_chunks(body):
        if name == b"XMP ":
            findings.add_packet(bytes(body[start : min(end, start + MAX_BLOCK_BYTES)]))
        elif name == b"C2PA":
            findings.add_manifests(bytes(body[start : min(end, start + MAX_MANIFEST_BYTES)]))
