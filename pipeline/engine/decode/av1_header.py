"""AV1 sequence header: read the color space of an AVIF file that has no `colr` box (AV1 specification, 5.5)."""

from __future__ import annotations

from dataclasses import dataclass

from ..color.spaces import CodePoints

_SEQUENCE_HEADER = 1


def code_points(configuration: bytes | None) -> CodePoints | None:
    """Return the code points in the content of an `av1C` box; None when it has none, or no sequence header."""
    if not configuration or len(configuration) < 6 or configuration[4] >> 3 & 15 != _SEQUENCE_HEADER:
        return None
    header, has_size = configuration[4], configuration[4] & 2
    at = 6 if header & 4 else 5
    while has_size and at < len(configuration) and configuration[at] & 0x80:
        at += 1
    try:
        return _sequence_header(_Bits(configuration, 8 * (at + (1 if has_size else 0))))
    except IndexError:
        return None


@dataclass
class _Bits:
    """Read bits from the first to the last."""

    body: bytes
    at: int

    def read(self, count: int) -> int:
        """Read a number of `count` bits.

        Raises:
            IndexError: the header ends before.
        """
        value = 0
        for _ in range(count):
            value = value << 1 | self.body[self.at >> 3] >> (7 - (self.at & 7)) & 1
            self.at += 1
        return value


def _sequence_header(bits: _Bits) -> CodePoints | None:
    """Read a sequence header up to its color description (5.5.1 and 5.5.2)."""
    profile = bits.read(3)
    bits.read(1)
    reduced = bool(bits.read(1))
    if reduced:
        bits.read(5)
    elif not _skip_operating_points(bits):
        return None
    _skip_size_and_tools(bits, reduced=reduced)
    return _color(bits, profile)


def _skip_operating_points(bits: _Bits) -> bool:
    """Skip the timing and the operating points of a sequence that is no still picture."""
    timing = bits.read(1)
    if timing:
        return False  # timing information has a variable length, and images have none
    delay = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:
            bits.read(1)
        if delay and bits.read(1):
            bits.read(4)
    return True


def _skip_size_and_tools(bits: _Bits, *, reduced: bool) -> None:
    """Skip the size of frames and the coding tools."""
    width, height = bits.read(4) + 1, bits.read(4) + 1
    bits.read(width + height)
    if not reduced and bits.read(1):  # frame_id_numbers_present_flag
        bits.read(7)
    bits.read(3)  # use_128x128_superblock, enable_filter_intra, enable_intra_edge_filter
    if not reduced:
        bits.read(4)
        order_hint = bits.read(1)
        if order_hint:
            bits.read(2)
        screen = 2 if bits.read(1) else bits.read(1)
        if screen and not bits.read(1):
            bits.read(1)
        if order_hint:
            bits.read(3)
    bits.read(3)  # enable_superres, enable_cdef, enable_restoration


def _color(bits: _Bits, profile: int) -> CodePoints | None:
    """Read the color description (5.5.2)."""
    high = bits.read(1)
    if profile == 2 and high:
        bits.read(1)
    if profile != 1:
        bits.read(1)  # mono_chrome
    return CodePoints(bits.read(8), bits.read(8)) if bits.read(1) else None
