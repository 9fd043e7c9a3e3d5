"""Gain map metadata: the numbers that turn the values of an HDR gain map into brightness (ISO 21496-1, Adobe Gain Map).

A gain map is a small image. Each of its values tells how much brighter the HDR rendition is at this place, in stops
(logarithms to base 2):

    stops = minimum + (maximum - minimum) · value^(1 / gamma)          value from 0 to 1
    HDR   = (SDR + offset_sdr) · 2^(stops · weight) - offset_hdr       SDR and HDR in linear light, 1 is SDR white

The weight grows from 0 to 1 while the display's headroom grows from `headroom_min` to `headroom_max`, in stops.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

MAX_STOPS = 16.0
"""Largest gain or headroom in stops. Displays reach 4; a file that needs more than 16 is wrong."""

MIN_GAMMA, MAX_GAMMA = 0.05, 20.0
MAX_OFFSET = 1.0
"""Largest offset, where SDR white is 1. Usual is 1/64."""


@dataclass(frozen=True)
class ChannelGain:
    """Parameters of one color channel. Defaults are those of Adobe's specification."""

    maximum: float
    minimum: float = 0.0
    gamma: float = 1.0
    offset_sdr: float = 1 / 64
    offset_hdr: float = 1 / 64

    def valid(self) -> bool:
        """Return True when all values are finite and plausible."""
        return (
            all(math.isfinite(value) for value in astuple(self))
            and -MAX_STOPS <= self.minimum <= self.maximum <= MAX_STOPS
            and MIN_GAMMA <= self.gamma <= MAX_GAMMA
            and 0 <= self.offset_sdr <= MAX_OFFSET
            and 0 <= self.offset_hdr <= MAX_OFFSET
        )


@dataclass(frozen=True)
class GainMapMetadata:
    """Metadata of a gain map whose base image is SDR.

    `channels` has one entry, which holds for all colors, or three for red, green and blue. `base_colors` is False when
    the gains hold in the color space of the gain map's own profile instead of the base image's (ISO 21496-1 only).
    """

    channels: tuple[ChannelGain, ...]
    headroom_max: float
    headroom_min: float = 0.0
    base_colors: bool = True

    def valid(self) -> bool:
        """Return True when all values are finite and plausible."""
        return (
            len(self.channels) in (1, 3)
            and all(channel.valid() for channel in self.channels)
            and math.isfinite(self.headroom_min)
            and math.isfinite(self.headroom_max)
            and 0 <= self.headroom_min < self.headroom_max <= MAX_STOPS
        )
