"""Compute the gains of a smaller rendition from brightness, so that its HDR image is the resized HDR image.

Averaging gains is not averaging light: where a lamp and the night meet, the mean of their gains is not the gain of
their mean. The HDR image of the source is therefore reconstructed at up to four times the size of the rendition and
resized in linear light. The gain of each pixel then leads from the rendition to that image.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from .. import pil
from ..decode.gain_map import GainMap
from ..gain_map_metadata import ChannelGain
from ..image_view import Box, ImageView, Size, resampling

MAX_WORK_PIXELS = 4_000_000
"""Largest size at which the HDR image is reconstructed: 16 MB for each channel in floats."""

OVERSAMPLING = (4, 2, 1)
"""Pixels of the reconstruction for each pixel of the rendition, in both directions: the first that is small enough."""

LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Weights of red, green and blue (ITU-R BT.709). Those of other spaces differ little, and only the ratio counts."""

ROOT = 8
"""Ratios are rounded in their eighth root, where 65,536 steps are finer than those of 8 bits in every gain map."""


def gains_of_rendition(gain_map: GainMap, view: ImageView, part: Box, shown: pil.Image.Image) -> pil.Image.Image | None:
    """Compute the gain map of a rendition at its full size.

    Return None where gains can only be resampled: gains in another color space, one gain for different channels, no
    range, or a rendition that is too large.

    Args:
        gain_map: Gain map of the source.
        view: The whole upright source.
        part: The part of it that the rendition shows.
        shown: Pixels of the rendition, L or RGB.
    """
    metadata, mapped = gain_map.metadata, gain_map.image
    bands = mapped.getbands()
    if not metadata.base_colors or len(bands) < len(metadata.channels) or shown.mode not in {"L", "RGB"}:
        return None
    channels = metadata.channels if len(metadata.channels) == len(bands) else metadata.channels * len(bands)
    size = _work_size(part, shown.size)
    if size is None or any(channel.minimum == channel.maximum for channel in channels):
        return None
    across, down = mapped.width / view.size[0], mapped.height / view.size[1]
    box = (part[0] * across, part[1] * down, min(part[2] * across, mapped.width), min(part[3] * down, mapped.height))
    base = view.sample(size, resampling("lanczos"), part)
    pairs = zip(_linear(base, len(bands)), _linear(shown, len(bands)), strict=True)
    made = [
        _gains(band.resize(size, resampling("bilinear"), box), before, after, channel)
        for band, (before, after), channel in zip(mapped.split(), pairs, channels, strict=True)
    ]
    return pil.Image.merge(mapped.mode, made)


def _work_size(part: Box, size: Size) -> Size | None:
    """Return the size of the reconstruction; None when it would be too large."""
    for times in OVERSAMPLING:
        wide, high = min(size[0] * times, round(part[2] - part[0])), min(size[1] * times, round(part[3] - part[1]))
        if wide * high <= MAX_WORK_PIXELS:
            return max(1, wide), max(1, high)
    return None


def _linear(image: pil.Image.Image, count: int) -> list[pil.Image.Image]:
    """Return linear light in floats, 1 is white: red, green and blue, or luminance alone for a `count` of 1."""
    bands = [band.point(_linear_table(), "F") for band in image.split()]
    if len(bands) == count:
        return bands
    if count > 1:
        return bands * count
    red, green, blue = bands

    def luminance(each: dict[str, Any]) -> Any:  # noqa: ANN401 - an operand of ImageMath
        return each["red"] * LUMINANCE[0] + each["green"] * LUMINANCE[1] + each["blue"] * LUMINANCE[2]

    return [pil.ImageMath.lambda_eval(luminance, red=red, green=green, blue=blue)]


def _gains(
    values: pil.Image.Image, before: pil.Image.Image, after: pil.Image.Image, channel: ChannelGain
) -> pil.Image.Image:
    """Compute one channel from `values` of the source's gain map (0 to 255) and the light of source and rendition."""
    low, span, lift = channel.minimum, channel.maximum - channel.minimum, channel.offset_sdr
    factors = values.point([2 ** (low + span * (value / 255) ** (1 / channel.gamma)) for value in range(256)], "F")

    def bright(each: dict[str, Any]) -> Any:  # noqa: ANN401 - an operand of ImageMath
        return (each["base"] + lift) * each["factor"]

    # The offset of the HDR image cancels out: it is subtracted in the source, and added here.
    wanted = pil.ImageMath.lambda_eval(bright, base=before, factor=factors).resize(after.size, resampling("lanczos"))
    smallest, largest = 2 ** (low / ROOT), 2 ** ((low + span) / ROOT)

    def root(each: dict[str, Any]) -> Any:  # noqa: ANN401 - an operand of ImageMath
        ratio = each["max"](each["wanted"], 1e-6) / (each["got"] + max(lift, 1e-6))
        return (ratio ** (1 / ROOT) - smallest) * (65_535 / (largest - smallest)) + 0.5

    steps: pil.Image.Image = pil.ImageMath.lambda_eval(root, wanted=wanted, got=after)
    return steps.convert("I").point(_value_table(channel, smallest, largest), "L")


@lru_cache(maxsize=1)
def _linear_table() -> list[float]:
    """Return linear light for the 256 values of sRGB (IEC 61966-2-1)."""
    values = [value / 255 for value in range(256)]
    return [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]


def _value_table(channel: ChannelGain, smallest: float, largest: float) -> list[int]:
    """Return the value of the gain map for each of 65,536 steps of the root of the ratio. Neighbors share a value."""
    span, found = channel.maximum - channel.minimum, []
    for step in range(0, 65_536, 16):
        stops = ROOT * math.log2(smallest + (largest - smallest) * (step + 7.5) / 65_535)
        share = min(max((stops - channel.minimum) / span, 0.0), 1.0)
        found += [round(255 * share**channel.gamma)] * 16
    return found
