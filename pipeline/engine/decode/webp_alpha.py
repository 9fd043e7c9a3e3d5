"""WebP animations: find transparency that the header does not announce (RFC 9649, 2.7).

Decoders of libwebp fill the canvas with black when the header has no alpha flag. Browsers show uncovered parts of the
canvas as transparent in any case.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from ..containers.file_view import view_of
from ..containers.riff import walk_chunks

FLAGS_OFFSET = 20
"""Offset of the flags of the VP8X chunk, which is the first one."""

_ANIMATION, _ALPHA = 0x02, 0x10
_DISPOSE_TO_CLEAR, _NO_BLENDING = 0x01, 0x02


class _Frame(NamedTuple):
    """Describe a frame: its box on the canvas, whether it has alpha, and its flags."""

    box: tuple[int, int, int, int]
    alpha: bool
    disposed: bool
    blended: bool


def with_alpha_flag(body: bytes) -> bytes:
    """Return the WebP with the alpha flag set in its VP8X header. Return other files unchanged."""
    if body[12:16] != b"VP8X" or len(body) <= FLAGS_OFFSET:
        return body
    return b"".join((body[:FLAGS_OFFSET], bytes([body[FLAGS_OFFSET] | _ALPHA]), body[FLAGS_OFFSET + 1 :]))


def lacks_alpha_flag(stream: BinaryIO) -> bool:
    """Return True for an animation that shows transparent pixels although its header has no alpha flag."""
    body = view_of(stream)
    head = bytes(body[:30])
    flags = head[FLAGS_OFFSET] if len(head) == 30 and head[12:16] == b"VP8X" else 0
    if not flags & _ANIMATION or flags & _ALPHA:
        return False
    canvas = (0, 0, _number(head[24:27]) + 1, _number(head[27:30]) + 1)
    open_box: tuple[int, int, int, int] | None = canvas
    for frame in _frames(body):
        opaque = not frame.alpha or (frame.blended and open_box is None)
        if not opaque or (open_box is not None and not _covers(frame.box, open_box)):
            return True
        open_box = frame.box if frame.disposed else None
    return False


def _covers(outer: tuple[int, int, int, int], inner: tuple[int, int, int, int]) -> bool:
    """Return True when `inner` is inside `outer`."""
    return outer[0] <= inner[0] and outer[1] <= inner[1] and outer[2] >= inner[2] and outer[3] >= inner[3]


def _frames(body: memoryview) -> Iterator[_Frame]:
    """Yield the frames of an animation from their headers, without decoding pixels."""
    for name, start, _ in walk_chunks(body):
        if name == b"ANMF":
            data = bytes(body[start : start + 38])
            if len(data) < 24:
                return
            left, top = 2 * _number(data[:3]), 2 * _number(data[3:6])
            box = (left, top, left + _number(data[6:9]) + 1, top + _number(data[9:12]) + 1)
            lossless = data[16:20] == b"VP8L" and len(data) >= 29 and bool(data[28] & 0x10)
            alpha = data[16:20] == b"ALPH" or lossless
            yield _Frame(box, alpha, bool(data[15] & _DISPOSE_TO_CLEAR), not data[15] & _NO_BLENDING)


def _number(field: bytes) -> int:
    """Read a number of 24 bits."""
    return int.from_bytes(field, "little")
