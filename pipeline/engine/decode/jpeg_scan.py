"""JPEG markers: find damage by the markers of a file, without decoding it (ITU-T T.81, annex B).

libjpeg only warns about damaged pixel data, and Pillow does not pass its warnings on. The markers tell a part of it: a
missing end, markers that cannot stand inside pixel data, restart markers out of order or missing, missing scans.
Damage that leaves all markers intact stays unnoticed.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from itertools import islice
from struct import unpack_from

from ..containers import jpeg

_FRAMES = frozenset((0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7))
_SEQUENTIAL = frozenset((0xC0, 0xC1, 0xC3, 0xC9, 0xCB))
LOSSLESS = frozenset((0xC3, 0xC7, 0xCB, 0xCF))
HIERARCHICAL = frozenset((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF))
ARITHMETIC = frozenset((0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF))
JPEG_LS = 0xF7
_DHT, _DAC, _DQT, _DNL, _DRI, _COM = 0xC4, 0xCC, 0xDB, 0xDC, 0xDD, 0xFE
_ANYWHERE = frozenset((_DNL, _COM, *range(0xE0, 0xF0)))
"""Markers that may follow a scan, also the last one."""

_BETWEEN_SCANS = _ANYWHERE | {_DHT, _DAC, jpeg.SOS, _DQT, _DRI}

_ANY_MARKER = re.compile(rb"\xff[^\x00\xff]")
_MARKER_HERE = re.compile(rb"\xff+[^\x00\xff]")
_NO_RESTART = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_RESTARTS = re.compile(rb"\xff([\xd0-\xd7])")
_RESTART_CYCLE = bytes(range(0xD0, 0xD8))
_STUFFED = re.compile(rb"\xff\x00")

MIN_SCAN_REST_BYTES = 64
"""Fewer bytes between two end markers are trailing bytes, not the rest of a scan."""


MAX_RESTARTS = 1 << 20


@dataclass
class Frame:
    """The frame header: its marker, its offset in the file, bits per sample, and sampling factors by component.

    `first_scan` lists the components of the first scan.
    """

    marker: int
    offset: int
    precision: int
    height: int
    width: int
    components: dict[int, tuple[int, int]]
    first_scan: tuple[int, ...] = ()

    def units(self, scan: tuple[int, ...]) -> int:
        """Count the units between which a scan of these components may have restart markers."""
        across = max(h for h, _ in self.components.values()) or 1
        down = max(v for _, v in self.components.values()) or 1
        if len(scan) > 1:
            return -(-self.width // (8 * across)) * -(-self.height // (8 * down))
        h, v = self.components[scan[0]]
        width, height = -(-self.width * h // across), -(-self.height * v // down)
        return -(-width // 8) * -(-height // 8)


@dataclass
class _State:
    """Facts about the file as far as its markers have been read."""

    frame: Frame | None = None
    interval: int = 0
    segments: int = 0
    scan: tuple[int, ...] = ()
    scanned: set[int] = field(default_factory=set)

    @property
    def complete(self) -> bool:
        """True when no further scan can follow: every component of a sequential frame has had its scan."""
        frame = self.frame
        return frame is not None and frame.marker in _SEQUENTIAL and self.scanned == set(frame.components)

    def may_follow(self, marker: int) -> bool:
        """Return True when the marker may stand behind a scan."""
        return marker in (_ANYWHERE if self.complete else _BETWEEN_SCANS)


def read_frame(body: memoryview) -> Frame | None:
    """Read the first frame header; None when there is none before the first scan."""
    state = _State()
    try:
        _read_head(body, state)
    except (struct.error, _DamageError):
        return None
    if state.frame is not None:
        state.frame.first_scan = state.scan
    return state.frame


def find_damage(body: memoryview) -> str:
    """Describe the damage that the markers show; empty when they show none.

    Not damage: fill bytes, restart markers, DNL, comments behind the last scan, further images (MPO), trailing bytes.
    """
    state = _State()
    try:
        place = _read_head(body, state)
        while place:
            place = _read_scan(body, place, state)
    except struct.error:
        return "the file is truncated in a marker segment"
    except _DamageError as damage:
        return str(damage)
    return ""


def restored_height(body: memoryview) -> bytes | None:
    """Return the file with the height from its DNL marker in the frame header, where the header leaves it open."""
    state = _State()
    try:
        place = _read_head(body, state)
        if state.frame is None or state.frame.height:
            return None
        found = _NO_RESTART.search(body, place)
        if found is None or body[found.start() + 1] != _DNL:
            return None
        (height,) = unpack_from(">H", body, found.end() + 2)
    except (struct.error, _DamageError):
        return None
    at = state.frame.offset + 5
    return b"".join((body[:at], int(height).to_bytes(2, "big"), body[at + 2 :]))


class _DamageError(Exception):
    """The markers show this damage."""


def _read_head(body: memoryview, state: _State) -> int:
    """Read the segments before the first scan. Return the offset of the scan's pixel data."""
    for marker, start, _ in jpeg.walk_segments(body):
        place = _read_segment(body, marker, start - 2, state)
        if marker == jpeg.SOS:
            return place
    raise _DamageError("the file is truncated before its pixel data")


def _read_segment(body: memoryview, marker: int, place: int, state: _State) -> int:
    """Read a segment whose length is at `place`. Return the offset of its end."""
    (length,) = unpack_from(">H", body, place)
    state.segments += 1
    if state.segments >= jpeg.MAX_SEGMENTS:
        raise _DamageError(f"it has {jpeg.MAX_SEGMENTS:,} marker segments or more")
    if marker in _FRAMES and state.frame is None:
        precision, height, width, count = unpack_from(">BHHB", body, place + 2)
        parts = [unpack_from(">BB", body, place + 8 + 3 * number) for number in range(count)]
        components = {name: (factors >> 4, factors & 15) for name, factors in parts}
        if not components:
            raise _DamageError("its frame header has no components")
        state.frame = Frame(marker, place - 2, precision, height, width, components)
    elif marker == jpeg.SOS:
        state.scan = _scan_components(body, place, state)
    elif marker == _DRI:
        (state.interval,) = unpack_from(">H", body, place + 2)
    return place + int(length)


def _scan_components(body: memoryview, place: int, state: _State) -> tuple[int, ...]:
    """Read the components of the scan whose header is at `place`, and note that they have been scanned."""
    length, count = unpack_from(">HB", body, place)
    frame, scan = state.frame, tuple(body[place + 3 : place + 3 + 2 * count : 2])
    if length != 6 + 2 * count or not scan or frame is None or not set(scan) <= set(frame.components):
        raise _DamageError("a scan header is damaged")
    sequential = frame.marker in _SEQUENTIAL
    if sequential and state.scanned & set(scan):
        raise _DamageError("it has two scans of one component")
    first_coefficient, _, precision = unpack_from(">BBB", body, place + 3 + 2 * count)
    # A scan that refines has the precision before it in the upper 4 bits.
    if sequential or (first_coefficient == 0 and precision < 16):
        state.scanned |= set(scan)
    return scan


def _read_scan(body: memoryview, place: int, state: _State) -> int:
    """Check the pixel data of a scan, and the segments behind it. Return the offset of the next scan; 0 at the end."""
    found = (_NO_RESTART if state.interval else _ANY_MARKER).search(body, place)
    if found is None:
        raise _DamageError("the file is truncated: its end marker is missing")
    _check_restarts(body[place : found.start()], state)
    place = found.start()
    while found := _MARKER_HERE.match(body, place):
        marker, place = body[found.end() - 1], found.end()
        if marker == jpeg.EOI:
            _check_end(body, place, state)
            return 0
        if not state.may_follow(marker):
            raise _DamageError(f"the marker FF{marker:02X} is inside pixel data, at byte {place - 2:,}")
        place = _read_segment(body, marker, place, state)
        if marker == jpeg.SOS:
            return place
    if place >= len(body):
        raise _DamageError("the file is truncated: its end marker is missing")
    raise _DamageError(f"a marker is inside pixel data, before byte {place:,}")


def _check_restarts(data: memoryview, state: _State) -> None:
    """Check order and number of the restart markers in the pixel data of a scan."""
    frame = state.frame
    if not state.interval or frame is None:
        return
    counted = frame.marker not in LOSSLESS and frame.height > 0
    expected = -(-frame.units(state.scan) // state.interval) - 1 if counted else MAX_RESTARTS
    found = b"".join(match[1] for match in islice(_RESTARTS.finditer(data), expected + 2))
    count = len(found)
    if found != (_RESTART_CYCLE * (count // 8 + 1))[:count]:
        raise _DamageError("its restart markers are out of order")
    if not counted:
        return
    # Some encoders write one behind the last unit, too.
    if not expected <= count <= expected + 1:
        raise _DamageError(f"it has {count:,} restart markers instead of {max(expected, 0):,}")


def _check_end(body: memoryview, place: int, state: _State) -> None:
    """Check that every component was scanned, and that the pixel data do not go on behind the end marker."""
    frame = state.frame
    if frame is not None and state.scanned != set(frame.components):
        raise _DamageError("it ends before all of its scans")
    found = _NO_RESTART.search(body, place)
    if found is None or body[found.start() + 1] != jpeg.EOI or found.start() - place < MIN_SCAN_REST_BYTES:
        return
    if _STUFFED.search(body, place, found.start()):
        raise _DamageError(f"an end marker is inside pixel data, at byte {place - 2:,}")
