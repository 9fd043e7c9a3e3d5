"""Matrix profiles: build the ICC profile of a color space that a file declares by numbers (ICC.1:2022)."""

from __future__ import annotations

import struct
from functools import lru_cache

from .spaces import D50, ColorSpace, Curve, Vector, adaptation, multiply, white_point

_TABLE_ENTRIES = 4096
"""Entries of the table that replaces a curve of narrow range, which has no formula in a profile."""

_MAX_FIXED = 32767.0


@lru_cache(maxsize=64)
def matrix_profile(space: ColorSpace) -> bytes:
    """Build the profile of a color space with a curve. Equal spaces give the same bytes.

    Raises:
        ValueError: the chromaticities describe no color space, or a number does not fit in a profile.
    """
    if not isinstance(space.transfer, Curve):
        raise TypeError("a matrix profile cannot describe PQ or HLG")
    adapt = adaptation(white_point(space.primaries.white), D50)
    columns = multiply(adapt, space.primaries.to_xyz())
    curve = _sampled(space) if space.narrow else _parametric(space.transfer)
    tags = {
        b"desc": _text("RGB by the numbers of the source"),
        b"cprt": _text("CC0"),
        b"wtpt": _xyz(D50),
        b"chad": b"sf32\0\0\0\0" + b"".join(map(_fixed, (value for row in adapt for value in row))),
        **{
            name: _xyz((columns[0][i], columns[1][i], columns[2][i]))
            for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))
        },
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    return _profile(tags)


def _parametric(curve: Curve) -> bytes:
    """Encode a curve as parametricCurveType (10.18): a power, a power with a factor, or one with a linear part."""
    kind, values = 3, [curve.gamma, curve.a, curve.b, curve.c, curve.d]
    if not curve.d:
        kind, values = (0, values[:1]) if curve.a == 1 else (1, values[:3])
    return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + b"".join(map(_fixed, values))


def _sampled(space: ColorSpace) -> bytes:
    """Encode the curve of 8-bit samples of narrow range as curveType (10.6)."""
    assert isinstance(space.transfer, Curve)  # noqa: S101 - checked by the caller
    last = _TABLE_ENTRIES - 1
    levels = [round(65535 * space.transfer.decode(space.full_range(i / last, 255.0))) for i in range(_TABLE_ENTRIES)]
    return b"curv\0\0\0\0" + struct.pack(f">I{_TABLE_ENTRIES}H", _TABLE_ENTRIES, *levels)


def _fixed(value: float) -> bytes:
    """Encode a s15Fixed16Number (4.6)."""
    if not -_MAX_FIXED < value < _MAX_FIXED:
        raise ValueError("a number is too large for a profile")
    return struct.pack(">i", round(value * 65536))


def _xyz(vector: Vector) -> bytes:
    """Encode an XYZType (10.31)."""
    return b"XYZ \0\0\0\0" + b"".join(map(_fixed, vector))


def _text(text: str) -> bytes:
    """Encode a multiLocalizedUnicodeType (10.15) with one text."""
    body = text.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II4sII", 1, 12, b"enUS", len(body), 28) + body


def _profile(tags: dict[bytes, bytes]) -> bytes:
    """Assemble a display profile of version 4.3: header (7.2), tag table (7.3), tags. Equal tags share their data."""
    start, data = 128 + 4 + 12 * len(tags), b""
    places: dict[bytes, int] = {}
    table = struct.pack(">I", len(tags))
    for name, body in tags.items():
        if body not in places:
            places[body] = start + len(data)
            data += body + bytes(-len(body) % 4)
        table += name + struct.pack(">II", places[body], len(body))
    header = struct.pack(">I4x4s12s", start + len(data), b"\x04\x30\0\0", b"mntrRGB XYZ ") + bytes(12) + b"acsp"
    illuminant = b"".join(map(_fixed, D50))
    return header.ljust(68, b"\0") + illuminant + bytes(48) + table + data
