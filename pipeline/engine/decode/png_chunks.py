"""PNG chunks: check and read the chunks of a file, without decoding pixels (PNG specification, 5.3).

Pillow checks no checksum of pixel data, and it rejects a file for a wrong checksum in a profile or a text. Here the
checksum of every chunk is checked: critical chunks and frames (`fdAT`) must be intact, other chunks are left out.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection
from dataclasses import dataclass, field

from ..containers import png
from ..containers.png import Chunk

MAX_COLOR_CHUNK_BYTES = 64
"""Chunks that describe colors by numbers (cICP, sRGB, gAMA, cHRM, mDCV, cLLI) are shorter than this."""

_CRITICAL = frozenset((b"ihdr", b"plte", b"idat", b"iend", b"fdat"))
_ANIMATION = frozenset((b"acTL", b"fcTL", b"fdAT"))
_EXACT_BYTES = {b"sRGB": 1, b"gAMA": 4, b"cHRM": 32, b"pHYs": 9}
_LEAST_CLEAR_BYTES = {0: 2, 2: 6}
"""Bytes of a tRNS chunk by the color type of the image."""

_MAX_KEYWORD_BYTES = 79
_CHECKSUM, _CONTROL = struct.Struct(">I"), struct.Struct(">IIIIIHHBB")


def color_chunks(body: memoryview, names: Collection[bytes]) -> dict[bytes, bytes]:
    """Read the first chunk of each type in `names` that precedes the pixels, if it is short enough to be valid."""
    found: dict[bytes, bytes] = {}
    for chunk in png.walk_chunks(body):
        if chunk.name == b"IDAT":
            break
        if chunk.name in names and chunk.length <= MAX_COLOR_CHUNK_BYTES:
            found.setdefault(chunk.name, bytes(body[chunk.offset : chunk.end]))
    return found


@dataclass
class Checked:
    """The result of a check: the damage in critical chunks and frames, if any, and the chunks to leave out.

    `broken_animation` is True when the animation cannot be shown. Its chunks are then among those to leave out.
    """

    damage: str = ""
    left_out: list[Chunk] = field(default_factory=list)
    broken_animation: bool = False


def check_chunks(body: memoryview) -> Checked:
    """Check the lengths and checksums of all chunks, and the order of the chunks of an animation."""
    found, animation, count = Checked(), _Animation(), 0
    for chunk in png.walk_chunks(body):
        count += 1
        name, start, end = chunk.name, chunk.offset - 8, chunk.end + 4
        if not name.isalpha():
            found.damage = found.damage or f"there is no chunk at byte {start:,}"
            return found
        if end > len(body):
            found.damage = found.damage or f"the file is truncated in its chunk {name.decode()}"
            return found
        intact = zlib.crc32(body[start + 4 : chunk.end]) == _CHECKSUM.unpack_from(body, chunk.end)[0]
        if intact or name in _ANIMATION:
            animation.add(chunk, body, intact=intact)
        if not intact and (name.lower() in _CRITICAL or not name[0] & 0x20):
            found.damage = found.damage or f"the checksum of the chunk {name.decode()} at byte {start:,} is wrong"
        elif name not in _ANIMATION and not (intact and _is_well_formed(chunk, body)):
            found.left_out.append(chunk)
        if name == b"IEND":
            found.broken_animation = bool(animation.chunks) and not (found.damage or animation.is_valid())
            found.left_out += animation.chunks if found.broken_animation else []
            return found
    too_many = f"it has more than {png.MAX_CHUNKS:,} chunks" if count >= png.MAX_CHUNKS else ""
    found.damage = found.damage or too_many or "the file is truncated: its chunk IEND is missing"
    return found


def _is_well_formed(chunk: Chunk, body: memoryview) -> bool:
    """Return True when an ancillary chunk has the bytes that its type needs. Pillow rejects the file otherwise."""
    if chunk.name in (b"iCCP", b"zTXt"):
        keyword, end, rest = bytes(body[chunk.offset : chunk.offset + min(chunk.length, 81)]).partition(b"\0")
        return bool(end) and 1 <= len(keyword) <= _MAX_KEYWORD_BYTES and rest[:1] == b"\0"
    if chunk.name == b"tRNS":
        return chunk.length >= _LEAST_CLEAR_BYTES.get(body[25], 0)
    return chunk.length == _EXACT_BYTES.get(chunk.name, chunk.length)


def without_chunks(body: memoryview, chunks: Collection[Chunk]) -> bytes:
    """Return the file without these chunks."""
    parts, place = [], 0
    for chunk in sorted(chunks, key=lambda chunk: chunk.offset):
        parts.append(body[place : chunk.offset - 8])
        place = chunk.offset + chunk.length + 4
    return b"".join([*parts, body[place:]])


@dataclass
class _Animation:
    """The chunks of an animation in the order of the file, checked as in the PNG specification, third edition, 11.3.5.

    Frames beyond the declared number are ignored, as decoders do.
    """

    chunks: list[Chunk] = field(default_factory=list)
    size: tuple[int, int] = (0, 0)
    declared: int = 0
    frames: int = 0
    numbered: int = 0
    pixels_seen: bool = False
    waiting: bool = False
    broken: bool = False

    def add(self, chunk: Chunk, body: memoryview, *, intact: bool) -> None:
        """Add a chunk of any type. `intact` is False when its checksum is wrong."""
        if chunk.name == b"IHDR" and chunk.length >= 8:
            self.size = struct.unpack_from(">II", body, chunk.offset)
        elif chunk.name == b"IDAT":
            self.pixels_seen, self.waiting = True, False
        if chunk.name in _ANIMATION:
            self.chunks.append(chunk)
            self.broken |= not (intact and self._is_next(chunk, body))

    def is_valid(self) -> bool:
        """Return True when nothing is wrong, and every declared frame is there."""
        return not (self.broken or self.waiting) and 0 < self.declared <= self.frames

    def _is_next(self, chunk: Chunk, body: memoryview) -> bool:
        """Check a chunk of the animation against those before it."""
        if chunk.name == b"acTL":
            first = chunk.length == 8 and not (self.declared or self.pixels_seen)
            self.declared = _CHECKSUM.unpack_from(body, chunk.offset)[0] if first else 0
            return first
        if chunk.length < 4 or _CHECKSUM.unpack_from(body, chunk.offset)[0] != self.numbered:
            return False
        self.numbered += 1
        if chunk.name == b"fdAT":
            self.waiting = False
            return self.pixels_seen and self.frames > 0
        valid = chunk.length == _CONTROL.size and not self.waiting and self._fits(chunk, body)
        self.waiting, self.frames = True, self.frames + 1
        return valid

    def _fits(self, chunk: Chunk, body: memoryview) -> bool:
        """Check the area of a frame, and its ways to be disposed and blended. The first image covers the canvas."""
        _, width, height, left, top, _, _, dispose, blend = _CONTROL.unpack_from(body, chunk.offset)
        inside = 0 < width <= self.size[0] - left and 0 < height <= self.size[1] - top
        covers = self.pixels_seen or (width, height) == self.size
        return inside and covers and dispose <= 2 and blend <= 1
