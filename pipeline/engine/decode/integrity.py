"""Integrity: check a source for damage that Pillow does not notice, and repair its container in memory.

Damage in pixel data is reported when the pixels are decoded, so that the report on a damaged source has its size.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import BinaryIO

from .. import pil
from ..containers.file_view import view_of
from . import jpeg_scan
from .png_chunks import check_chunks, without_chunks


@dataclass
class Inspected:
    """A checked source: the file to decode, its damage (empty if none is found), and what the repair has left out."""

    stream: BinaryIO
    damage: str = ""
    dropped: set[str] = field(default_factory=set)


def inspect(stream: BinaryIO, found: str) -> Inspected:
    """Check the file of a source in the format `found`. The result reads the repaired file, if a repair was needed.

    - PNG: chunks with a wrong checksum are left out, unless an image needs them. A broken animation becomes its still
      image (PNG specification, third edition, 4.9).
    - JPEG: a height that stands behind the first scan (DNL) is put into the frame header.
    """
    if found == "PNG":
        return _png(stream)
    return _jpeg(stream) if found == "JPEG" else Inspected(stream)


def _png(stream: BinaryIO) -> Inspected:
    body = view_of(stream)
    checked = check_chunks(body)
    names = {chunk.name for chunk in checked.left_out}
    dropped = {"animation"} if checked.broken_animation else set[str]()
    dropped |= {"transparency"} if b"tRNS" in names else set()
    dropped |= {"damaged_metadata"} if names - {b"tRNS", b"acTL", b"fcTL", b"fdAT"} else set()
    file = io.BytesIO(without_chunks(body, checked.left_out)) if checked.left_out else stream
    return Inspected(file, checked.damage, dropped)


def _jpeg(stream: BinaryIO) -> Inspected:
    body = view_of(stream)
    whole = jpeg_scan.restored_height(body)
    if whole is not None:
        return Inspected(io.BytesIO(whole), jpeg_scan.find_damage(memoryview(whole)))
    return Inspected(stream, jpeg_scan.find_damage(body))


def feed_at_once(image: pil.Image.Image, stream: BinaryIO) -> None:
    """Let Pillow feed a JPEG with arithmetic coding to its decoder in one block: that decoder cannot wait for more."""
    body = view_of(stream)
    frame = jpeg_scan.read_frame(body)
    if frame is not None and frame.marker in jpeg_scan.ARITHMETIC:
        vars(image)["decodermaxblock"] = len(body)
