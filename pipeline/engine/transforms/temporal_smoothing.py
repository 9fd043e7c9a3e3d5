"""What a step finds out from the tones of a picture, kept for the later frames of an animation.

Chosen for each frame anew, it would make what stands still tremble. Chosen once and for all, a dark first frame would
spoil the rest. So it is kept until the tones are those of another scene.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

from ..base import TransformContext

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T")

MAX_TONE_SHIFT_LEVELS = 24.0
"""How many of 256 levels the tones may have moved, on the average of all pixels, from those that it was chosen for."""

MIN_STILL_FRACTION = 0.5
"""What part of the picture stands still as long as the rest may do what it likes."""

SIGNATURE_SIDE_PIXELS = 32
"""Side of the picture that is looked at for that, in which levels may differ by `STILL`."""
STILL_TOLERANCE_LEVELS = 8

WRONG_COLOR_LEVELS, MAX_WRONG_FRACTION = 48, 0.05
"""A color is wrong when it is so many levels off, and too many are when it is this part of the pixels more than it was
for the frame that the palette was made of."""


def smoothed(context: TransformContext, step: object, image: Image.Image, choose: Callable[[], T]) -> T:
    """What `choose` says of `image` (RGBA: what is hidden does not count); for the like of it later on the same."""
    if not context.animated:
        return choose()
    key, look = (id(step), "tones"), FrameSignature.of(image)
    known: tuple[FrameSignature, T] | None = context.decisions.get(key)
    if known is None or not known[0].matches(look):
        known = context.decisions[key] = (look, choose())
    return known[1]


def smoothed_palette(
    context: TransformContext, step: object, image: Image.Image, choose: Callable[[], Image.Image]
) -> Image.Image:
    """The palette that `choose` makes of `image` (RGB); later on the same, as long as it has the colors for it."""
    if not context.animated:
        return choose()
    known: tuple[Image.Image, float] | None = context.decisions.get((id(step), "palette"))
    if known is None or _wrong_fraction(image, known[0]) > known[1] + MAX_WRONG_FRACTION:
        palette = choose()
        known = context.decisions[id(step), "palette"] = (palette, _wrong_fraction(image, palette))
    return known[0]


@dataclass(frozen=True)
class FrameSignature:
    """A frame at a glance: how many of its pixels have each level of each color, and the whole of it very small."""

    histogram: list[int]
    thumbnail: Image.Image

    @classmethod
    def of(cls, image: Image.Image) -> FrameSignature:
        """How `image` looks."""
        from PIL import Image

        colors = image.convert("RGB")
        return cls(
            colors.histogram(visible_mask(image)),
            colors.resize((SIGNATURE_SIDE_PIXELS, SIGNATURE_SIDE_PIXELS), Image.Resampling.BOX),
        )

    def matches(self, other: FrameSignature) -> bool:
        """True when both are frames of one scene: of like tones, or for a good part the same, unless that is blank."""
        if _tone_distance(self.histogram, other.histogram) <= MAX_TONE_SHIFT_LEVELS:
            return True
        low, high = self.thumbnail.convert("L").getextrema()
        blank = int(high) - int(low) < 4 * STILL_TOLERANCE_LEVELS  # type: ignore[arg-type]
        return (
            not blank and 1 - _share_over(self.thumbnail, other.thumbnail, STILL_TOLERANCE_LEVELS) >= MIN_STILL_FRACTION
        )


def _share_over(one: Image.Image, other: Image.Image, tolerance: int) -> float:
    """The part of the pixels that differ by more than `most` levels in some color."""
    from PIL import ImageChops

    red, green, blue = ImageChops.difference(one, other).split()
    counts = ImageChops.lighter(ImageChops.lighter(red, green), blue).histogram()
    return sum(counts[tolerance + 1 :]) / sum(counts)


def _wrong_fraction(image: Image.Image, palette: Image.Image) -> float:
    from PIL import Image

    return _share_over(
        image, image.quantize(palette=palette, dither=Image.Dither.NONE).convert("RGB"), WRONG_COLOR_LEVELS
    )


def visible_mask(image: Image.Image) -> Image.Image | None:
    """A mask of the pixels that are seen at all; None for all of them."""
    return image.getchannel("A") if image.mode == "RGBA" else None


def brightness_histogram(image: Image.Image) -> list[int]:
    """How many of the pixels that are seen have each brightness."""
    return image.convert("L").histogram(visible_mask(image))


def mean_level(counts: Sequence[int]) -> int:
    """The mean level, rounded; of no pixels: the middle."""
    total = sum(counts)
    return int(sum(level * count for level, count in enumerate(counts)) / total + 0.5) if total else 128


def stretch_table(counts: Sequence[int], cutoff: float) -> list[int]:
    """A table that makes the darkest level black and the lightest white, `cutoff` percent of the pixels left aside.

    As `ImageOps.autocontrast` has it, which cannot be asked for its table.
    """
    aside = int(sum(counts) * cutoff // 100)
    low, high = _first_level(counts, aside), 255 - _first_level(counts[::-1], aside)
    if high <= low:
        return list(range(256))
    scale = 255.0 / (high - low)
    return [min(max(int(level * scale - low * scale), 0), 255) for level in range(256)]


def _first_level(counts: Sequence[int], aside: int) -> int:
    """The first level that is left when so many pixels from this end are not."""
    return next((level for level, sofar in enumerate(accumulate(counts)) if sofar > aside), 255)


def equalize_table(counts: Sequence[int]) -> list[int]:
    """A table that spreads the levels evenly over the pixels, as `ImageOps.equalize` has it."""
    used = [count for count in counts if count]
    step = (sum(used) - used[-1]) // 255 if len(used) > 1 else 0
    if not step:
        return list(range(256))
    return [min(before // step, 255) for before in accumulate(counts[:255], initial=step // 2)]


def _tone_distance(one: Sequence[int], other: Sequence[int]) -> float:
    """By how many levels, on the average, the pixels of one would have to move to be as those of the other."""
    return max(_histogram_distance(one[at : at + 256], other[at : at + 256]) for at in (0, 256, 512))


def _histogram_distance(one: Sequence[int], other: Sequence[int]) -> float:
    total, whole = sum(one) or 1, sum(other) or 1
    pairs = zip(accumulate(one), accumulate(other), strict=True)
    return sum(abs(first / total - second / whole) for first, second in pairs)
