"""Temporal smoothing: keep tone statistics and palettes stable across the frames of an animation.

Statistics of each frame would make still areas flicker. Statistics of the first frame alone would spoil the others if
it is dark. They are therefore kept until the tones indicate another scene.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

from .. import pil
from ..base import TransformContext

T = TypeVar("T")

MAX_TONE_SHIFT_LEVELS = 24.0
"""Largest mean shift of tones, in levels of 256, within one scene."""

MIN_STILL_FRACTION = 0.5
"""Fraction of the image that must stand still for the rest to change freely within one scene."""

SIGNATURE_SIDE_PIXELS = 32
"""Side of the thumbnail that is compared for still areas; levels may differ by `STILL_TOLERANCE_LEVELS`."""
STILL_TOLERANCE_LEVELS = 8

WRONG_COLOR_LEVELS, MAX_WRONG_FRACTION = 48, 0.05
"""A color is wrong when it is so many levels off, and too many are when it is this part of the pixels more than it was
for the frame that the palette was made of."""


def smoothed(context: TransformContext, step: object, image: pil.Image.Image, choose: Callable[[], T]) -> T:
    """Return the result of `choose` for `image`, or the earlier result while the frames belong to one scene.

    Transparent pixels of an RGBA image do not count.
    """
    if not context.animated:
        return choose()
    key, look = (id(step), "tones"), FrameSignature.of(image)
    known: tuple[FrameSignature, T] | None = context.decisions.get(key)
    if known is None or not known[0].matches(look):
        known = context.decisions[key] = (look, choose())
    return known[1]


def smoothed_palette(
    context: TransformContext, step: object, image: pil.Image.Image, choose: Callable[[], pil.Image.Image]
) -> pil.Image.Image:
    """Return the palette that `choose` makes of an RGB image, or the earlier palette while it still fits."""
    if not context.animated:
        return choose()
    known: tuple[pil.Image.Image, float] | None = context.decisions.get((id(step), "palette"))
    if known is None or _wrong_fraction(image, known[0]) > known[1] + MAX_WRONG_FRACTION:
        palette = choose()
        known = context.decisions[id(step), "palette"] = (palette, _wrong_fraction(image, palette))
    return known[0]


@dataclass(frozen=True)
class FrameSignature:
    """Signature of a frame: its histogram of each color channel, and a thumbnail."""

    histogram: list[int]
    thumbnail: pil.Image.Image

    @classmethod
    def of(cls, image: pil.Image.Image) -> FrameSignature:
        """Compute the signature of `image`."""
        colors = image.convert("RGB")
        return cls(
            colors.histogram(visible_mask(image)),
            colors.resize((SIGNATURE_SIDE_PIXELS, SIGNATURE_SIDE_PIXELS), pil.Image.Resampling.BOX),
        )

    def matches(self, other: FrameSignature) -> bool:
        """Return True when both frames belong to one scene: similar tones, or largely identical and not blank."""
        if _tone_distance(self.histogram, other.histogram) <= MAX_TONE_SHIFT_LEVELS:
            return True
        low, high = self.thumbnail.convert("L").getextrema()
        blank = int(high) - int(low) < 4 * STILL_TOLERANCE_LEVELS  # type: ignore[arg-type]
        return (
            not blank and 1 - _share_over(self.thumbnail, other.thumbnail, STILL_TOLERANCE_LEVELS) >= MIN_STILL_FRACTION
        )


def _share_over(one: pil.Image.Image, other: pil.Image.Image, tolerance: int) -> float:
    """Return the fraction of pixels that differ by more than `tolerance` levels in some channel."""
    red, green, blue = pil.ImageChops.difference(one, other).split()
    counts = pil.ImageChops.lighter(pil.ImageChops.lighter(red, green), blue).histogram()
    return sum(counts[tolerance + 1 :]) / sum(counts)


def _wrong_fraction(image: pil.Image.Image, palette: pil.Image.Image) -> float:
    """Return the fraction of pixels whose color the palette lacks."""
    return _share_over(
        image, image.quantize(palette=palette, dither=pil.Image.Dither.NONE).convert("RGB"), WRONG_COLOR_LEVELS
    )


def visible_mask(image: pil.Image.Image) -> pil.Image.Image | None:
    """Return the alpha of an RGBA image as a mask of visible pixels; None when all pixels are visible."""
    return image.getchannel("A") if image.mode == "RGBA" else None


def brightness_histogram(image: pil.Image.Image) -> list[int]:
    """Count the visible pixels of each brightness."""
    return image.convert("L").histogram(visible_mask(image))


def mean_level(counts: Sequence[int]) -> int:
    """Return the mean level of a histogram, rounded; 128 for an empty one."""
    total = sum(counts)
    return int(sum(level * count for level, count in enumerate(counts)) / total + 0.5) if total else 128


def stretch_table(counts: Sequence[int], cutoff: float) -> list[int]:
    """Build a table that maps the darkest level to black and the lightest to white.

    `cutoff` percent of the pixels are ignored at each end. The result equals `ImageOps.autocontrast`, which does not
    expose its table.
    """
    aside = int(sum(counts) * cutoff // 100)
    low, high = _first_level(counts, aside), 255 - _first_level(counts[::-1], aside)
    if high <= low:
        return list(range(256))
    scale = 255.0 / (high - low)
    return [min(max(int(level * scale - low * scale), 0), 255) for level in range(256)]


def _first_level(counts: Sequence[int], aside: int) -> int:
    """Return the first level that remains when `aside` pixels are ignored from this end."""
    return next((level for level, sofar in enumerate(accumulate(counts)) if sofar > aside), 255)


def equalize_table(counts: Sequence[int]) -> list[int]:
    """Build a table that distributes the levels evenly over the pixels, as `ImageOps.equalize` does."""
    used = [count for count in counts if count]
    step = (sum(used) - used[-1]) // 255 if len(used) > 1 else 0
    if not step:
        return list(range(256))
    return [min(before // step, 255) for before in accumulate(counts[:255], initial=step // 2)]


def _tone_distance(one: Sequence[int], other: Sequence[int]) -> float:
    """Return the mean number of levels by which pixels must move to turn one histogram into the other."""
    return max(_histogram_distance(one[at : at + 256], other[at : at + 256]) for at in (0, 256, 512))


def _histogram_distance(one: Sequence[int], other: Sequence[int]) -> float:
    """Return that distance for one channel."""
    total, whole = sum(one) or 1, sum(other) or 1
    pairs = zip(accumulate(one), accumulate(other), strict=True)
    return sum(abs(first / total - second / whole) for first, second in pairs)
