"""Plan the HDR gain map of a job: decide which renditions keep it, and in which color space each is made.

A gain map is relative to the pixels of its image, so a rendition that keeps it also keeps the colors of the source and
their profile. The other renditions of the job are converted to sRGB before their own transforms, as always.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..base import Transform
from ..decode.source import Source
from ..encode.formats import Format, Jpeg, Keep
from ..encode.output import Output
from ..image_view import ImageView
from ..transforms.auto_orient import swaps_sides
from ..transforms.to_srgb import ToSrgb

if TYPE_CHECKING:
    from ..decode.gain_map import GainMap
    from ..encode.gain_map import MapSource

MAP_PRESERVING = frozenset({"frame", "auto_orient", "to_srgb", "crop", "resize"})
"""Transforms that a gain map follows. Every other one drops it."""


class GainMapPlan:
    """The gain map of a source, if a rendition can keep it.

    `colors` is the color conversion with which the source has to be decoded.
    """

    def __init__(self, source: Source, colors: ToSrgb, gain_map: GainMap | None) -> None:
        self.source = source
        self.gain_map = gain_map
        self.colors = replace(colors, keep_profile=True) if gain_map else colors
        # The recipe may keep the profile for all renditions.
        self.late_conversion = gain_map is not None and not colors.keep_profile
        self.whole: ImageView | None = None
        self._converted: tuple[ImageView, ImageView] | None = None

    def start(self, view: ImageView) -> ImageView:
        """Take the view of the whole decoded source. Return the view to apply transforms to."""
        if self.source.patched:
            self.gain_map = None
        if self.gain_map is None:
            return view
        self.whole = replace(view, origin=(0, 0, *view.size))
        return self.whole

    def in_srgb(self, view: ImageView) -> ImageView:
        """Convert a view for renditions without gain map. Several of them share the result."""
        if not self.late_conversion:
            return view
        if self._converted is None or self._converted[0] is not view:
            self._converted = view, view.convert(lambda image: self.source.in_srgb([image])[0])
        return self._converted[1]

    def part_for(self, view: ImageView) -> MapSource | None:
        """Return the gain map and its part for a finished view; None when the view shows more than a part."""
        if self.gain_map is None or self.whole is None or view.origin is None:
            return None
        from ..encode.gain_map import MapSource

        return MapSource(self.gain_map, self.whole, view.origin)

    def profile_of(self, kept: MapSource | None) -> bytes | None:
        """Return the color profile of the pixels of a rendition that keeps, or does not keep, the gain map."""
        return self.source.profile if kept or not self.late_conversion else None


def plan_gain_map(
    source: Source, colors: ToSrgb, shared: Iterable[Transform], keeping: Collection[str], max_pixels: int
) -> GainMapPlan:
    """Read the gain map of the source if there are renditions `keeping` it and the shared transforms preserve it."""
    # Conversion to gray or from CMYK changes the pixels that the gains refer to.
    suitable = source.format == "JPEG" and (source.mode == "RGB" or (source.mode == "L" and source.profile is None))
    gain_map = None
    if suitable and keeping and preserves_map(shared):
        from ..decode.gain_map import read_gain_map

        stored = source.size[::-1] if swaps_sides(source.orientation) else source.size
        gain_map = read_gain_map(source.stream, stored, source.orientation, max_pixels)
    return GainMapPlan(source, colors, gain_map)


def keeps_map(kind: Format, output: Output, steps: Iterable[Transform], source_format: str) -> bool:
    """Return True when a rendition can keep the gain map: the recipe names it, in JPEG, with preserving transforms."""
    if "gain_map" not in output.keep or not preserves_map(steps):
        return False
    return isinstance(kind.format_for(source_format) if isinstance(kind, Keep) else kind, Jpeg)


def preserves_map(steps: Iterable[Transform]) -> bool:
    """Return True when a gain map follows all of the transforms."""
    return all(step.name in MAP_PRESERVING for step in steps)
