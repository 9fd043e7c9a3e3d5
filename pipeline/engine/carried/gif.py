"""GIF: find information in the application extensions."""

from __future__ import annotations

from typing import BinaryIO

from .findings import Findings

XMP_MARK = b"\x21\xff\x0bXMP DataXMP"
XMP_END = b"\x01\xff\xfe\xfd"
"""Start of the bytes that lead readers of blocks out of the packet (XMP specification, part 3, 1.1.2)."""

C2PA_MARK = b"\x21\xff\x0bC2PA_GIF"


def find_in_gif(stream: BinaryIO, findings: Findings) -> None:
    """Find information in a GIF file. Searching for the marks is faster than walking the blocks of pixels."""
    stream.seek(0)
    body = stream.read()
    if C2PA_MARK in body:
        findings.names.add("c2pa")
    start = body.find(XMP_MARK)
    if start >= 0:
        start += len(XMP_MARK)
        end = body.find(XMP_END, start)
        findings.add_packet(body[start : end if end >= 0 else None])
