"""GIF: find information in the application extensions."""

from __future__ import annotations

from .findings import MAX_MANIFEST_BYTES, Findings

XMP_MARK = b"\x21\xff\x0bXMP DataXMP"
XMP_END = b"\x01\xff\xfe\xfd"
"""Start of the bytes that lead readers of blocks out of the packet (XMP specification, part 3, 1.1.2)."""

C2PA_MARK = b"\x21\xff\x0bC2PA_GIF"


def find_in_gif(view: memoryview, findings: Findings) -> None:
    """Find information in a GIF file. Searching for the marks is faster than walking the blocks of pixels."""
    body = bytes(view)
    start = body.find(C2PA_MARK)
    if start >= 0:
        findings.add_manifests(_joined(body, start + len(C2PA_MARK) + 3))
    start = body.find(XMP_MARK)
    if start >= 0:
        start += len(XMP_MARK)
        end = body.find(XMP_END, start)
        findings.add_packet(body[start : end if end >= 0 else None])


def _joined(body: bytes, at: int) -> bytes:
    """Join the blocks of an extension, each of which begins with its length."""
    parts: list[bytes] = []
    while at < len(body) and body[at] and len(parts) < MAX_MANIFEST_BYTES // 255:
        parts.append(body[at + 1 : at + 1 + body[at]])
        at += 1 + body[at]
    return b"".join(parts)
