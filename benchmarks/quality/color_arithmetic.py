"""Colour arithmetic in plain numbers, independent of the engine: published matrices, curves and differences.

The engine derives its matrices from chromaticities and converts with LittleCMS and tables. This module uses published
matrices, and floats. Against colour-science 0.4.7 it differs by at most 0.4 levels of 255 on random colors, and by less
than 1e-12 in CIEDE2000.
"""

from __future__ import annotations

from collections.abc import Callable
from math import atan2, cos, degrees, exp, hypot, radians, sin, sqrt

Triple = tuple[float, float, float]

TO_XYZ: dict[str, tuple[Triple, Triple, Triple]] = {
    "sRGB": ((0.4123908, 0.3575843, 0.1804808), (0.2126390, 0.7151687, 0.0721923), (0.0193308, 0.1191948, 0.9505322)),
    "P3": ((0.4865709, 0.2656677, 0.1982173), (0.2289746, 0.6917385, 0.0792869), (0.0, 0.0451134, 1.0439444)),
    "BT.2020": ((0.6369580, 0.1446169, 0.1688810), (0.2627002, 0.6779981, 0.0593017), (0.0, 0.0280727, 1.0609851)),
    "Adobe RGB": (
        (0.5766690, 0.1855582, 0.1882286),
        (0.2973450, 0.6273636, 0.0752915),
        (0.0270314, 0.0706889, 0.9913375),
    ),
}
"""From linear RGB to XYZ (white: D65), to seven decimals."""

_XYZ_TO_SRGB = (
    (3.2409699, -1.5373832, -0.4986108),
    (-0.9692436, 1.8759675, 0.0415551),
    (0.0556301, -0.2039770, 1.0569715),
)


def apply(matrix: tuple[Triple, Triple, Triple], vector: Triple) -> Triple:
    """Multiply a matrix by a vector."""
    a, b, c = vector
    first, second, third = (row[0] * a + row[1] * b + row[2] * c for row in matrix)
    return first, second, third


def inverse(matrix: tuple[Triple, Triple, Triple]) -> tuple[Triple, Triple, Triple]:
    """Invert a matrix by Gaussian elimination."""
    rows = [[*row, *(float(i == j) for j in range(3))] for i, row in enumerate(matrix)]
    for i in range(3):
        pivot = max(range(i, 3), key=lambda r: abs(rows[r][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [value / rows[i][i] for value in rows[i]]
        for j in range(3):
            if j != i:
                rows[j] = [one - rows[j][i] * other for one, other in zip(rows[j], rows[i], strict=True)]
    first, second, third = ((row[3], row[4], row[5]) for row in rows)
    return first, second, third


def srgb_decode(v: float) -> float:
    """IEC 61966-2-1, from samples to light."""
    return v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4


def srgb_encode(light: float) -> float:
    """IEC 61966-2-1, from light to samples."""
    return 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055


def bt709_decode(v: float) -> float:
    """ITU-R BT.709 and BT.2020, from samples to light (inverse OETF)."""
    return v / 4.5 if v < 4.5 * 0.018053968510807 else ((v + 0.09929682680944) / 1.09929682680944) ** (1 / 0.45)


def bt709_encode(light: float) -> float:
    """ITU-R BT.709 and BT.2020, from light to samples."""
    return 4.5 * light if light < 0.018053968510807 else 1.09929682680944 * light**0.45 - 0.09929682680944


def power_decode(gamma: float) -> Callable[[float], float]:
    """Return a pure power."""
    return lambda v: float(max(v, 0.0) ** gamma)


def pq_decode(v: float) -> float:
    """SMPTE ST 2084, from samples to cd/m²."""
    p = max(v, 0.0) ** (32 / 2523)
    return float(10000 * (max(p - 0.8359375, 0) / (18.8515625 - 18.6875 * p)) ** (16384 / 2610))


def pq_encode(light: float) -> float:
    """SMPTE ST 2084, from cd/m² to samples."""
    y = (max(light, 0.0) / 10000) ** 0.1593017578125
    return float(((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375)


def hlg_decode(v: float) -> float:
    """ITU-R BT.2100 HLG, from samples to the light of the scene (inverse OETF)."""
    return v * v / 3 if v <= 0.5 else (exp((v - 0.55991073) / 0.17883277) + 0.28466892) / 12


def bt2390(light: float, peak: float, target: float = 203.0) -> float:
    """ITU-R BT.2390 EETF with black at 0: cd/m² in, cd/m² out."""
    scale = pq_encode(peak)
    e1, max_lum = min(pq_encode(light) / scale, 1.0), pq_encode(target) / scale
    if max_lum >= 1:
        return min(light, target)
    ks = 1.5 * max_lum - 0.5
    if e1 < ks:
        e2 = e1
    else:
        t = (e1 - ks) / (1 - ks)
        e2 = (2 * t**3 - 3 * t**2 + 1) * ks + (t**3 - 2 * t**2 + t) * (1 - ks) + (-2 * t**3 + 3 * t**2) * max_lum
    return pq_decode(e2 * scale)


def from_light(light: Triple, primaries: str) -> Triple:
    """Convert linear RGB to sRGB samples, clipped to 0 to 1."""
    linear = apply(_XYZ_TO_SRGB, apply(TO_XYZ[primaries], light))
    first, second, third = (srgb_encode(min(max(value, 0.0), 1.0)) for value in linear)
    return first, second, third


def from_hdr(samples: Triple, transfer: str, peak: float = 1000.0, primaries: str = "BT.2020") -> Triple:
    """Convert PQ or HLG samples to sRGB samples as the documentation says."""
    if transfer == "PQ":
        light = [pq_decode(v) for v in samples]
    else:
        scene = [hlg_decode(v) for v in samples]
        luminance = 0.2627 * scene[0] + 0.6780 * scene[1] + 0.0593 * scene[2]
        light = [1000 * luminance**0.2 * v if luminance > 0 else 0.0 for v in scene]
    top = max(light)
    ratio = bt2390(top, peak) / top if top > 0 else 0.0
    return from_light((light[0] * ratio / 203, light[1] * ratio / 203, light[2] * ratio / 203), primaries)


def to_lab(samples: Triple) -> Triple:
    """Convert sRGB samples from 0 to 1 to CIE L*a*b* (white: D65)."""
    red, green, blue = (srgb_decode(v) for v in samples)
    x, y, z = apply(TO_XYZ["sRGB"], (red, green, blue))
    fx, fy, fz = (_f(x / 0.9504559), _f(y), _f(z / 1.0890578))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def _f(t: float) -> float:
    return float(t ** (1 / 3)) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29


def delta_e_2000(one: Triple, other: Triple) -> float:
    """CIEDE2000 of two Lab colors (Sharma, Wu and Dalal 2005)."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    mean_c = (hypot(a1, b1) + hypot(a2, b2)) / 2
    g = 0.5 * (1 - sqrt(mean_c**7 / (mean_c**7 + 25**7)))
    a1, a2 = a1 * (1 + g), a2 * (1 + g)
    c1, c2 = hypot(a1, b1), hypot(a2, b2)
    h1, h2 = (degrees(atan2(b, a)) % 360 if a or b else 0.0 for a, b in ((a1, b1), (a2, b2)))
    difference = h2 - h1
    if c1 * c2 == 0:
        difference = 0.0
    elif abs(difference) > 180:
        difference -= 360 if difference > 0 else -360
    dh = 2 * sqrt(c1 * c2) * sin(radians(difference / 2))
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    mean_h = h1 + h2
    if c1 * c2:
        mean_h = mean_h / 2 if abs(h1 - h2) <= 180 else (mean_h + (360 if mean_h < 360 else -360)) / 2
    t = 1 - 0.17 * cos(radians(mean_h - 30)) + 0.24 * cos(radians(2 * mean_h))
    t += 0.32 * cos(radians(3 * mean_h + 6)) - 0.20 * cos(radians(4 * mean_h - 63))
    sl = 1 + 0.015 * (mean_l - 50) ** 2 / sqrt(20 + (mean_l - 50) ** 2)
    sc, sh = 1 + 0.045 * mean_c, 1 + 0.015 * mean_c * t
    rotation = -2 * sqrt(mean_c**7 / (mean_c**7 + 25**7)) * sin(radians(60 * exp(-(((mean_h - 275) / 25) ** 2))))
    dl, dc = (l2 - l1) / sl, (c2 - c1) / sc
    return sqrt(dl**2 + dc**2 + (dh / sh) ** 2 + rotation * dc * dh / sh)
