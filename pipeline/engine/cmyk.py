"""CMYK without a profile: a documented model of offset printing on coated paper, as an ICC profile made here.

The colors are those of the 16 solid overprints, mixed by the dot areas (the equations of Neugebauer and Demichel). The
colors of the solids and the growth of the dots are those of ISO 12647-2:2004 (with amendment 1), paper types 1 and 2:
the printing condition of most profiles for coated paper. Paper becomes white, and all four inks together become black.
A naive conversion (255 minus ink) shows inks that no printer has, for example pure cyan as (0, 255, 255).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from functools import cache

from . import pil

PAPER = (95.0, 0.0, -2.0)
SOLIDS = {
    (0, 0, 0): PAPER,
    (1, 0, 0): (55.0, -37.0, -50.0),
    (0, 1, 0): (48.0, 74.0, -3.0),
    (0, 0, 1): (89.0, -5.0, 93.0),
    (0, 1, 1): (47.0, 68.0, 48.0),
    (1, 0, 1): (50.0, -65.0, 27.0),
    (1, 1, 0): (24.0, 22.0, -46.0),
    (1, 1, 1): (23.0, 0.0, 0.0),
}
"""CIELAB (D50) of the overprints of cyan, magenta and yellow."""

BLACK_LIGHTNESS = 16.0
"""L* of black on paper."""

SURFACE_REFLECTION = 0.0105
"""Light that the surface of the darkest print reflects, as a fraction of that of the paper."""

DOT_GAIN = (0.14, 0.14, 0.14, 0.17)
"""Growth of a dot of 50 %, for cyan, magenta, yellow and black."""

D50 = (0.9642, 1.0, 0.8249)
GRID_POINTS = 9
"""Points of the table along each ink. Between them, the conversion is interpolated."""

Color = tuple[float, ...]


def cmyk_to_srgb(image: pil.Image.Image) -> pil.Image.Image:
    """Convert a CMYK image without a profile to RGB in sRGB."""
    made = pil.ImageCms.applyTransform(image, _transform())
    assert made is not None  # noqa: S101 - only a conversion in place returns nothing
    return made


@cache
def _transform() -> pil.ImageCms.ImageCmsTransform:
    """Build the conversion once per process: its table takes longer than a small image."""
    source = pil.ImageCms.ImageCmsProfile(io.BytesIO(default_profile()))
    return pil.ImageCms.buildTransform(source, pil.ImageCms.createProfile("sRGB"), "CMYK", "RGB")


@cache
def default_profile() -> bytes:
    """Build the profile: an ICC.1:2001 input profile with a table from ink to CIE XYZ (`mft2`, 10.8)."""
    table = _table()
    curves = b"".join(struct.pack(">256H", *_dot_curve(gain)) for gain in DOT_GAIN)
    lut = struct.pack(">4s4x4B9i2H", b"mft2", 4, 3, GRID_POINTS, 0, *(65_536, 0, 0, 0, 65_536, 0, 0, 0, 65_536), 256, 2)
    lut += curves + struct.pack(f">{len(table)}H", *table) + struct.pack(">6H", *(0, 65_535) * 3)
    description = b"Coated paper (ISO 12647-2), computed"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(description) + 1) + description + bytes(79),
        b"cprt": b"text" + bytes(4) + b"CC0\0",
        b"wtpt": b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65_536 * part) for part in D50)),
        b"A2B0": lut,
    }
    return _profile(tags)


def _table() -> list[int]:
    """Compute the colors of the grid: mixtures of the solids by dot area, for black as the last and fastest ink."""
    white = _xyz(PAPER)
    solids = [[part / full for part, full in zip(_xyz(SOLIDS[key]), white, strict=True)] for key in sorted(SOLIDS)]
    covered = _xyz((BLACK_LIGHTNESS, 0.0, 0.0))[1] / white[1]
    passed = (covered - SURFACE_REFLECTION) / (1 - SURFACE_REFLECTION)
    pairs = [(solid, [SURFACE_REFLECTION + (part - SURFACE_REFLECTION) * passed for part in solid]) for solid in solids]
    points: list[Sequence[float]] = [color for pair in pairs for color in pair]
    # Axis by axis, from black to cyan: each step replaces 2 points on an axis by a whole row.
    inner = 1
    for _ in range(4):
        points = _interpolate(points, inner)
        inner *= GRID_POINTS
    darkest = points[-1]
    scaled = [
        max(0.0, (part - low) / (1 - low)) * full
        for color in points
        for part, low, full in zip(color, darkest, D50, strict=True)
    ]
    return [round(32_768 * part) for part in scaled]


def _interpolate(points: Sequence[Sequence[float]], inner: int) -> list[Sequence[float]]:
    """Replace each pair of blocks of `inner` points by `GRID_POINTS` blocks between them."""
    made: list[Sequence[float]] = []
    for start in range(0, len(points), 2 * inner):
        first, second = points[start : start + inner], points[start + inner : start + 2 * inner]
        for step in range(GRID_POINTS):
            share = step / (GRID_POINTS - 1)
            made += [
                [one + (other - one) * share for one, other in zip(low, high, strict=True)]
                for low, high in zip(first, second, strict=True)
            ]
    return made


def _dot_curve(gain: float) -> list[int]:
    """Compute the printed dot area for 256 ink values: a parabola that adds `gain` at 50 %."""
    areas = [value / 255 for value in range(256)]
    return [round(65_535 * (area + 4 * gain * area * (1 - area))) for area in areas]


def _xyz(lab: Color) -> Color:
    """Convert CIELAB to CIE XYZ, both for D50."""
    middle = (lab[0] + 16) / 116
    roots = (middle + lab[1] / 500, middle, middle - lab[2] / 200)
    parts = (root**3 if root > 6 / 29 else 3 * (6 / 29) ** 2 * (root - 4 / 29) for root in roots)
    return tuple(part * full for part, full in zip(parts, D50, strict=True))


def _profile(tags: dict[bytes, bytes]) -> bytes:
    """Put tags into a profile with a header (ICC.1:2001, 6.1)."""
    place, directory, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        directory += struct.pack(">4s2I", name, place + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = bytearray(128)
    struct.pack_into(">I4xI4s4s4s", header, 0, place + len(body), 0x02400000, b"scnr", b"CMYK", b"XYZ ")
    header[36:40] = b"acsp"
    struct.pack_into(">3i", header, 68, *(round(65_536 * part) for part in D50))
    return bytes(header) + struct.pack(">I", len(tags)) + directory + body
