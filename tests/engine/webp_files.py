"""Write animated WebP files from lossless frames (RFC 9649): the container by hand, the pixels of a frame by Pillow."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from .conftest import encoded


@dataclass(frozen=True)
class Frame:
    """A frame at an even place on the canvas. `clear_after` disposes to transparent; `blend` draws over the canvas."""

    image: Image.Image
    left: int = 0
    top: int = 0
    clear_after: bool = False
    blend: bool = True


def write_webp(size: tuple[int, int], frames: Sequence[Frame], *, alpha: bool = False) -> bytes:
    """Write an animation, with or without the alpha flag in its header."""
    header = bytes([0x02 | (0x10 if alpha else 0), 0, 0, 0]) + _number(size[0] - 1) + _number(size[1] - 1)
    body = _chunk(b"VP8X", header) + _chunk(b"ANIM", b"\xff\x00\x00\xff" + b"\0\0")
    for frame in frames:
        flags = frame.clear_after | (0 if frame.blend else 2)
        place = _number(frame.left // 2) + _number(frame.top // 2)
        side = _number(frame.image.width - 1) + _number(frame.image.height - 1)
        still = encoded(frame.image, "WEBP", lossless=True, exact=True)
        body += _chunk(b"ANMF", place + side + _number(50) + bytes([flags]) + still[still.index(b"VP8L") :])
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _chunk(name: bytes, data: bytes) -> bytes:
    """Build a chunk."""
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def _number(value: int) -> bytes:
    """Pack a number of 24 bits."""
    return value.to_bytes(3, "little")
