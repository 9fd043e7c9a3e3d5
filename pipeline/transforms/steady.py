"""What a step finds out from the tones of a picture, kept for the later frames of an animation.

Chosen for each frame anew, it would make what stands still tremble. Chosen once and for all, a dark first frame would
spoil the rest. So it is kept until the tones are those of another scene.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

from .base import Scene

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T")

SAME_SCENE = 24.0
"""How many of 256 levels the tones may have moved, on the average of all pixels, from those that it was chosen for."""


def steady(scene: Scene, step: object, image: Image.Image, choose: Callable[[], T]) -> T:
    """What `choose` says of `image` (RGBA: what is hidden does not count); for the like of it later on the same."""
    if not scene.moving:
        return choose()
    key, tones = (id(step), "tones"), _tones(image)
    known: tuple[list[int], T] | None = scene.decided.get(key)
    if known is None or _apart(known[0], tones) > SAME_SCENE:
        known = scene.decided[key] = (tones, choose())
    return known[1]


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


def _tones(image: Image.Image) -> list[int]:
    return image.convert("RGB").histogram(shown(image))


def _apart(one: Sequence[int], other: Sequence[int]) -> float:
    """By how many levels, on the average, the pixels of one would have to move to be as those of the other."""
    return max(_moved(one[at : at + 256], other[at : at + 256]) for at in (0, 256, 512))


def _moved(one: Sequence[int], other: Sequence[int]) -> float:
    total, whole = sum(one) or 1, sum(other) or 1
    pairs = zip(accumulate(one), accumulate(other), strict=True)
    return sum(abs(first / total - second / whole) for first, second in pairs)
