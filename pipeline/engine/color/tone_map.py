"""Tone mapping: from PQ and HLG (ITU-R BT.2100) to sRGB, by the EETF of ITU-R BT.2390.

The reference white of BT.2408, 203 cd/m², becomes the white of sRGB. Each pixel is scaled as a whole: the EETF maps the
largest of its three channels, and the other two get the same factor, so hues stay. Then the colors are converted to the
primaries of sRGB, and clipped.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from math import exp

from .. import pil
from .samples import LEVELS, Samples, compute
from .spaces import HLG, SRGB_CURVE, ColorSpace, Vector, to_srgb_matrix

REFERENCE_WHITE = 203.0
"""Luminance of the white of sRGB in cd/m² (ITU-R BT.2408, table 1)."""

PQ_PEAK = 10_000.0
HLG_PEAK = 1000.0
"""Luminance in cd/m² of the display for which HLG is rendered: its system gamma is 1.2 (BT.2100, table 5)."""

_HLG_GAMMA = 1.2
_MIN_LIGHT = 1e-6
"""Luminance in cd/m² that stands for 0 where luminances divide."""

_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32


def tone_map(samples: Samples, space: ColorSpace) -> pil.Image.Image:
    """Convert PQ or HLG samples to sRGB of 8 bits."""
    return samples.by_bands(lambda band: _map_band(band, space))


def _map_band(samples: Samples, space: ColorSpace) -> pil.Image.Image:
    """Convert a few rows."""
    light = _to_light(samples, space)
    brightest = light[0]
    for channel in light[1:]:
        brightest = compute(lambda a: a["max"](a["x"], a["y"]), x=brightest, y=channel)
    target = _map_light(brightest, min(space.peak, HLG_PEAK) if space.transfer == HLG else space.peak)
    above_zero = compute(lambda a: a["max"](a["x"], _MIN_LIGHT), x=brightest)
    # Divide first: the brightest channel then is exactly the target, so equal steps of gray stay in order.
    mapped = [compute(lambda a: a["x"] / a["m"] * a["t"], x=each, m=above_zero, t=target) for each in light]
    if len(mapped) == 1:
        return _to_bytes(mapped[0])
    return pil.Image.merge("RGB", [_to_bytes(_mix(row, mapped)) for row in to_srgb_matrix(space.primaries)])


def _to_light(samples: Samples, space: ColorSpace) -> list[pil.Image.Image]:
    """Return the luminance that each channel displays, in cd/m², as images of floats."""
    start, rise = _light_tables(space, samples.white)
    light = []
    for index, high in enumerate(samples.high.split()):
        level = high.point(start, "F")
        if samples.low:
            low, slope = samples.low.getchannel(index), high.point(rise, "F")
            level = compute(lambda a: a["level"] + a["slope"] * a["low"], level=level, slope=slope, low=low)
        light.append(level)
    if space.transfer != HLG:
        return light
    luminance = _mix(space.primaries.to_xyz()[1], light) if len(light) == 3 else light[0]
    # The OOTF (BT.2100, table 5): the scene's luminance to the power of gamma - 1.
    gain = compute(lambda a: a["y"] ** (_HLG_GAMMA - 1) * HLG_PEAK, y=luminance)
    return [compute(lambda a: a["x"] * a["gain"], x=channel, gain=gain) for channel in light]


def _mix(weights: Vector, channels: list[pil.Image.Image]) -> pil.Image.Image:
    """Return the weighted sum of three channels."""
    red, green, blue = channels
    return compute(lambda a: a["r"] * weights[0] + a["g"] * weights[1] + a["b"] * weights[2], r=red, g=green, b=blue)


def _map_light(light: pil.Image.Image, peak: float) -> pil.Image.Image:
    """Apply the EETF to luminances, with the reference white as 1.

    The table holds the upper end of each of its steps. Where the EETF changes nothing, the lesser of table and
    luminance is the luminance itself, with all its precision.
    """
    top = max(peak, REFERENCE_WHITE)
    index = compute(lambda a: a["int"](a["x"] * ((LEVELS - 1) / top)), x=light)
    high, low = (index.point(table, "L") for table in _eetf_tables(peak))
    mapped = compute(lambda a: a["float"](a["high"] * 256 + a["low"]) * (1 / (LEVELS - 1)), high=high, low=low)
    return compute(lambda a: a["min"](a["x"] * (1 / REFERENCE_WHITE), a["mapped"]), x=light, mapped=mapped)


def _to_bytes(light: pil.Image.Image) -> pil.Image.Image:
    """Convert linear light from 0 to 1 to samples of sRGB. `point` clips the rest."""
    return compute(lambda a: a["int"](a["x"] * (LEVELS - 1) + 0.5), x=light).point(_encoding_table(), "L")


def pq_to_light(sample: float) -> float:
    """Convert a PQ sample from 0 to 1 to cd/m² (SMPTE ST 2084, 5.1)."""
    root = max(sample, 0.0) ** (1 / _M2)
    return float(PQ_PEAK * (max(root - _C1, 0.0) / (_C2 - _C3 * root)) ** (1 / _M1))


def light_to_pq(light: float) -> float:
    """Convert cd/m² to a PQ sample from 0 to 1 (SMPTE ST 2084, 5.2)."""
    power = (max(light, 0.0) / PQ_PEAK) ** _M1
    return float(((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2)


def hlg_to_scene(sample: float) -> float:
    """Convert an HLG sample to the light of the scene, both from 0 to 1 (BT.2100, table 5: inverse OETF)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return sample**2 / 3 if sample <= 0.5 else float((exp((sample - c) / a) + b) / 12)


def eetf(light: float, peak: float) -> float:
    """Map luminance in cd/m² for a display whose white is the reference white (ITU-R BT.2390, 5.4.1).

    `peak` is the luminance of the brightest content. Black stays black.
    """
    top = light_to_pq(peak)
    most = light_to_pq(REFERENCE_WHITE) / top
    if most >= 1:
        return min(light, REFERENCE_WHITE)
    sample, knee = min(light_to_pq(light) / top, 1.0), 1.5 * most - 0.5
    if sample < knee:
        return light
    t = (sample - knee) / (1 - knee)
    curve = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * most
    return pq_to_light(curve * top)


@lru_cache(maxsize=8)
def _light_tables(space: ColorSpace, white: int) -> tuple[list[float], list[float]]:
    """Return the light of each high byte, and how much each step of the low byte adds.

    Between two high bytes the curve is almost straight: the error is below 0.2 %.
    """
    decode = hlg_to_scene if space.transfer == HLG else pq_to_light
    unit, steps = (256, white / 256) if white > 255 else (1, 255.0)
    levels = [decode(min(space.full_range(high * unit / white, steps), 1.0)) for high in range(257)]
    return levels[:256], [(after - level) / 256 for level, after in pairwise(levels)]


@lru_cache(maxsize=8)
def _eetf_tables(peak: float) -> tuple[bytes, bytes]:
    """Return the high and the low bytes of the EETF in 65,535 steps, from 0 to the peak or the reference white."""
    step, unit = max(peak, REFERENCE_WHITE) / (LEVELS - 1), (LEVELS - 1) / REFERENCE_WHITE
    # Between every 16th step the EETF is a straight line, to 0.1 %.
    nodes = [eetf(i * step, peak) * unit for i in range(1, LEVELS + 17, 16)]
    lines = ((start, (end - start) / 16) for start, end in pairwise(nodes))
    levels = [min(round(start + slope * i), LEVELS - 1) for start, slope in lines for i in range(16)]
    return bytes(level >> 8 for level in levels), bytes(level & 255 for level in levels)


@lru_cache(maxsize=1)
def _encoding_table() -> bytes:
    """Return the sample of sRGB for linear light in 65,535 steps."""
    return bytes(round(255 * SRGB_CURVE.encode(i / (LEVELS - 1))) for i in range(LEVELS))
