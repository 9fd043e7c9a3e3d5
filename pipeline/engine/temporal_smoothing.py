"""What a step finds out from the tones of a picture, kept for the later frames of an animation.

Chosen for each frame anew, it would make what stands still tremble. Chosen once and for all, a dark first frame would
spoil the rest. So it is kept until the tones are those of another scene.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

from .base import Scene

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T")

SAME_TONES = 24.0
"""How many of 256 levels the tones may have moved, on the average of all pixels, from those that it was chosen for."""

SAME_PLACES = 0.5
"""What part of the picture stands still as long as the rest may do what it likes."""

LOOK = 32
"""Side of the picture that is looked at for that, in which levels may differ by `STILL`."""
STILL = 8

WRONG, MANY = 48, 0.05
"""A colour is wrong when it is so many levels off, and too many are when it is this part of the pixels more than it was
for the frame that the palette was made of."""


def steady(scene: Scene, step: object, image: Image.Image, choose: Callable[[], T]) -> T:
    """What `choose` says of `image` (RGBA: what is hidden does not count); for the like of it later on the same."""
    if not scene.moving:
        return choose()
    key, look = (id(step), "tones"), Look.at(image)
    known: tuple[Look, T] | None = scene.decided.get(key)
    if known is None or not known[0].is_like(look):
        known = scene.decided[key] = (look, choose())
    return known[1]


def steady_palette(scene: Scene, step: object, image: Image.Image, choose: Callable[[], Image.Image]) -> Image.Image:
    """The palette that `choose` makes of `image` (RGB); later on the same, as long as it has the colours for it."""
    if not scene.moving:
        return choose()
    known: tuple[Image.Image, float] | None = scene.decided.get((id(step), "palette"))
    if known is None or _wrong(image, known[0]) > known[1] + MANY:
        palette = choose()
        known = scene.decided[id(step), "palette"] = (palette, _wrong(image, palette))
    return known[0]


@dataclass(frozen=True)
class Look:
    """A frame at a glance: how many of its pixels have each level of each colour, and the whole of it very small."""

    tones: list[int]
    small: Image.Image

    @classmethod
    def at(cls, image: Image.Image) -> Look:
        """How `image` looks."""
        from PIL import Image

        colours = image.convert("RGB")
        return cls(colours.histogram(shown(image)), colours.resize((LOOK, LOOK), Image.Resampling.BOX))

    def is_like(self, other: Look) -> bool:
        """True when both are frames of one scene: of like tones, or for a good part the same, unless that is blank."""
        if _apart(self.tones, other.tones) <= SAME_TONES:
            return True
        low, high = self.small.convert("L").getextrema()
        blank = int(high) - int(low) < 4 * STILL  # type: ignore[arg-type]
        return not blank and 1 - _share_over(self.small, other.small, STILL) >= SAME_PLACES


def _share_over(one: Image.Image, other: Image.Image, most: int) -> float:
    """The part of the pixels that differ by more than `most` levels in some colour."""
    from PIL import ImageChops

    red, green, blue = ImageChops.difference(one, other).split()
    counts = ImageChops.lighter(ImageChops.lighter(red, green), blue).histogram()
    return sum(counts[most + 1 :]) / sum(counts)


def _wrong(image: Image.Image, palette: Image.Image) -> float:
    from PIL import Image

    return _share_over(image, image.quantize(palette=palette, dither=Image.Dither.NONE).convert("RGB"), WRONG)


def shown(image: Image.Image) -> Image.Image | None:
    """A mask of the pixels that are seen at all; None for all of them."""
    return image.getchannel("A") if image.mode == "RGBA" else None


def levels(image: Image.Image) -> list[int]:
    """How many of the pixels that are seen have each brightness."""
    return image.convert("L").histogram(shown(image))


def mean(counts: Sequence[int]) -> int:
    """The mean level, rounded; of no pixels: the middle."""
    total = sum(counts)
    return int(sum(level * count for level, count in enumerate(counts)) / total + 0.5) if total else 128


def stretched(counts: Sequence[int], cutoff: float) -> list[int]:
    """A table that makes the darkest level black and the lightest white, `cutoff` percent of the pixels left aside.

    As `ImageOps.autocontrast` has it, which cannot be asked for its table.
    """
    aside = int(sum(counts) * cutoff // 100)
    low, high = _end(counts, aside), 255 - _end(counts[::-1], aside)
    if high <= low:
        return list(range(256))
    scale = 255.0 / (high - low)
    return [min(max(int(level * scale - low * scale), 0), 255) for level in range(256)]


def _end(counts: Sequence[int], aside: int) -> int:
    """The first level that is left when so many pixels from this end are not."""
    return next((level for level, sofar in enumerate(accumulate(counts)) if sofar > aside), 255)


def equalized(counts: Sequence[int]) -> list[int]:
    """A table that spreads the levels evenly over the pixels, as `ImageOps.equalize` has it."""
    used = [count for count in counts if count]
    step = (sum(used) - used[-1]) // 255 if len(used) > 1 else 0
    if not step:
        return list(range(256))
    return [min(before // step, 255) for before in accumulate(counts[:255], initial=step // 2)]


def _apart(one: Sequence[int], other: Sequence[int]) -> float:
    """By how many levels, on the average, the pixels of one would have to move to be as those of the other."""
    return max(_moved(one[at : at + 256], other[at : at + 256]) for at in (0, 256, 512))


def _moved(one: Sequence[int], other: Sequence[int]) -> float:
    total, whole = sum(one) or 1, sum(other) or 1
    pairs = zip(accumulate(one), accumulate(other), strict=True)
    return sum(abs(first / total - second / whole) for first, second in pairs)
