"""WebP: find information in the chunks."""

from __future__ import annotations

from typing import BinaryIO

from .findings import MAX_BLOCK_BYTES, MAX_MANIFEST_BYTES, Findings

MAX_CHUNKS = 100_000


def find_in_webp(stream: BinaryIO, findings: Findings) -> None:
    """Find information in a WebP file."""
    stream.seek(4)
    at, end = 12, 8 + int.from_bytes(stream.read(4), "little")
    for _ in range(MAX_CHUNKS):
        stream.seek(at)
        head = stream.read(8)
        if len(head) < 8 or at >= end:
            return
        name, length = head[:4], int.from_bytes(head[4:], "little")
        if name == b"XMP ":
            findings.add_packet(stream.read(min(length, MAX_BLOCK_BYTES)))
        elif name == b"C2PA":
            findings.add_manifests(stream.read(min(length, MAX_MANIFEST_BYTES)))
        at += 8 + length + length % 2
