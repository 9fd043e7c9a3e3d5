"""Tone mapping: from PQ and HLG (ITU-R BT.2100) to sRGB, by the EETF of ITU-R BT.2390.

The reference white of BT.2408, 203 cd/m², becomes the white of sRGB. Each pixel is scaled as a whole: the EETF maps the
largest of its three channels, and the other two get the same factor, so hues stay. Then the colors are converted to the
primaries of sRGB, and clipped.
"""

from __future__ import annotations

from functools import lru_cache, partial
from itertools import pairwise
from math import exp
from typing import Any

from .. import pil
from .samples import LEVELS, Samples, compute
from .spaces import HLG, SRGB_CURVE, ColorSpace, to_srgb_matrix

REFERENCE_WHITE = 203.0
"""Luminance of the white of sRGB in cd/m² (ITU-R BT.2408, table 1)."""

PQ_PEAK = 10_000.0
HLG_PEAK = 1000.0
"""Luminance in cd/m² of the display for which HLG is rendered: its system gamma is 1.2 (BT.2100, table 5)."""

_HLG_GAMMA = 1.2
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
    scale = _scale(brightest, min(space.peak, HLG_PEAK) if space.transfer == HLG else space.peak)
    if len(light) == 1:
        return _to_bytes(compute(lambda a: a["x"] * a["s"], x=light[0], s=scale))
    red, green, blue = light

    def channel_of(row: tuple[float, float, float]) -> pil.Image.Image:
        return _to_bytes(
            compute(
                lambda a: (a["r"] * row[0] + a["g"] * row[1] + a["b"] * row[2]) * a["s"],
                r=red,
                g=green,
                b=blue,
                s=scale,
            )
        )

    return pil.Image.merge("RGB", [channel_of(row) for row in to_srgb_matrix(space.primaries)])


def _to_light(samples: Samples, space: ColorSpace) -> list[pil.Image.Image]:
    """Return the luminance that each channel displays, in cd/m², as images of floats."""
    start, rise = _light_tables(space, samples.white)
    light = []
    for index, high in enumerate(samples.high.split()):
        level = high.point(start, "F")
        if samples.low:
            low = samples.low.getchannel(index)
            level = compute(
                lambda a: a["level"] + a["rise"] * a["low"], level=level, rise=high.point(rise, "F"), low=low
            )
        light.append(level)
    if space.transfer != HLG:
        return light
    weights = space.primaries.to_xyz()[1] if len(light) == 3 else (1.0,)
    whole = compute(partial(_weighted, weights[0]), x=light[0])
    for weight, channel in zip(weights[1:], light[1:], strict=True):
        part = compute(partial(_weighted, weight), x=channel)
        whole = compute(lambda a: a["x"] + a["y"], x=whole, y=part)
    # The OOTF (BT.2100, table 5): the scene's luminance to the power of gamma - 1.
    gain = compute(lambda a: a["y"] ** (_HLG_GAMMA - 1) * HLG_PEAK, y=whole)
    return [compute(lambda a: a["x"] * a["gain"], x=channel, gain=gain) for channel in light]


def _weighted(weight: float, images: dict[str, Any]) -> Any:  # noqa: ANN401 - a type of ImageMath
    """Return the formula for one image times a number."""
    return images["x"] * weight


def _scale(brightest: pil.Image.Image, peak: float) -> pil.Image.Image:
    """Return the factor for each pixel by its brightest channel, in units of the reference white."""
    index = compute(lambda a: a["int"](a["x"] * ((LEVELS - 1) / PQ_PEAK) + 0.5), x=brightest)
    high, low = (index.point(table, "L") for table in _scale_tables(peak))
    unit = 1 / (65_535 * REFERENCE_WHITE)
    return compute(lambda a: a["float"](a["high"] * 256 + a["low"]) * unit, high=high, low=low)


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
def _scale_tables(peak: float) -> tuple[bytes, bytes]:
    """Return the high and the low bytes of 65,535 times the factor, for each luminance from 0 to 10,000 cd/m²."""
    step = PQ_PEAK / (LEVELS - 1)
    factors = [65_535] + [round(65_535 * min(eetf(i * step, peak) / (i * step), 1.0)) for i in range(1, LEVELS)]
    return bytes(factor >> 8 for factor in factors), bytes(factor & 255 for factor in factors)


@lru_cache(maxsize=1)
def _encoding_table() -> bytes:
    """Return the sample of sRGB for linear light in 65,535 steps."""
    return bytes(round(255 * SRGB_CURVE.encode(i / (LEVELS - 1))) for i in range(LEVELS))
