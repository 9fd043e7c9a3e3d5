"""Heads by skin color and shape, in pure Pillow: blobs of skin, judged by a small neural network.

A blob is a place where the colors are those of skin and differ from those above and at the sides. The network sees the
brightness and the skin likelihood of a patch around it, and tells heads from arms, fruit, bricks and leaves. It knows
all skin tones alike, because the likelihood does not depend on brightness.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from operator import mul

from .. import pil
from . import head_weights
from .saliency import ColorMaps

RADII = (0.025, 0.035, 0.05, 0.069, 0.097, 0.138, 0.194)
"""Half widths of faces that are looked for, as fractions of the image's longer side."""

PATCH_SIDE = 7
"""Side of the patch that the network sees, in pixels."""

PATCH_REACH = (1.6, 1.9)
"""Half width and half height of the patch, in half widths of the face."""

MARGIN_PIXELS = 80
"""Margin around the thumbnail, so that patches may exceed it. It must be larger than half a patch."""

BLOBS_PER_RADIUS = 9
MAX_BLOBS = 48
"""Blobs that the network judges, the strongest first. One takes about 0.05 ms."""

MIN_BLOB = 36
"""Least product of skin likelihood and color contrast of a blob (0 to 255)."""

MIN_CERTAINTY = 0.12
"""A head of less certainty is not counted."""

LESS_COMMON = [60 + value * 195 // 255 for value in range(256)]
DOUBLE_CHROMA = [max(0, min(255, 2 * value - 128)) for value in range(256)]
EVEN_LIGHT = [round((255 * value) ** 0.5) for value in range(256)]
"""Square root of brightness: dark skin differs as much from its surroundings as light skin does."""

GAIN = [min(255, value * 5) for value in range(256)]
ENOUGH = [value if value >= MIN_BLOB else 0 for value in range(256)]
ZERO_ONLY = [255] + [0] * 255
NONZERO = re.compile(rb"[^\0]")
DIFFERENCE = (1.0, 0.7, 0.7, 0.0)
"""Weights of the differences of brightness, blue and red."""

COARSEST = 4.0
"""Blobs are looked for in an image where their half width is from half of this to this, in pixels."""

Blob = tuple[float, float, float, float]
"""Strength (0 to 255), x, y and half width in pixels."""


@dataclass(frozen=True)
class Head:
    """A head with hair and chin, as fractions of the image's width and height, and how certain it is (0 to 1)."""

    left: float
    top: float
    right: float
    bottom: float
    certainty: float


def find_heads(image: pil.Image.Image, maps: ColorMaps) -> list[Head]:
    """Return the heads in an RGB thumbnail, the most certain first."""
    padded = pad_maps(image, maps)
    judged = sorted(((_certainty(padded, blob), blob) for blob in find_blobs(image, maps)), reverse=True)
    kept: list[tuple[float, Blob]] = []
    for certainty, blob in judged:
        if certainty < MIN_CERTAINTY:
            break
        if not any(_overlap(blob, other) for _, other in kept):
            kept.append((certainty, blob))
    width, height = image.size
    return [
        Head(
            (x - 1.5 * radius) / width,
            (y - 2.3 * radius) / height,
            (x + 1.5 * radius) / width,
            (y + 1.75 * radius) / height,
            certainty,
        )
        for certainty, (_, x, y, radius) in kept
    ]


def _overlap(one: Blob, other: Blob) -> bool:
    """Return True when both blobs may be the same head."""
    radius = max(one[3], other[3])
    return abs(one[1] - other[1]) < 1.3 * radius and abs(one[2] - other[2]) < 1.6 * radius


def find_blobs(image: pil.Image.Image, maps: ColorMaps) -> list[Blob]:
    """Return blobs of skin of all sizes. The colors of a wall or of a beach count less, since they are everywhere."""
    skin = pil.ImageChops.multiply(maps.skin, maps.rarity.point(LESS_COMMON))
    colors = pil.Image.merge("RGB", image.convert("YCbCr").split())
    colors = colors.point([*EVEN_LIGHT, *DOUBLE_CHROMA, *DOUBLE_CHROMA])
    found: list[Blob] = []
    shrink = 1
    for share in RADII:
        radius = share * max(image.size)
        if 2 <= radius < min(image.size) * 0.4:
            while radius / shrink >= COARSEST:
                skin, colors, shrink = skin.reduce(2), colors.reduce(2), 2 * shrink
            found += _blobs_of_size(colors, skin, radius, shrink)
    return sorted(found, reverse=True)[:MAX_BLOBS]


def _blobs_of_size(colors: pil.Image.Image, skin: pil.Image.Image, radius: float, shrink: int) -> Iterator[Blob]:
    """Yield the places where a disc of skin differs in color from two of the three discs above and at its sides."""
    chops = pil.ImageChops
    unit = radius / shrink
    inside = skin.filter(pil.ImageFilter.BoxBlur(unit * 0.7))
    middle = colors.filter(pil.ImageFilter.BoxBlur(unit * 0.6))
    shift = round(unit * 1.8)
    above, left, right = (_difference(middle, x * shift, y * shift) for x, y in ((0, -1), (-1, 0), (1, 0)))
    median = chops.lighter(chops.darker(above, left), chops.darker(chops.lighter(above, left), right))
    strength = chops.multiply(inside, median.point(GAIN)).point(ENOUGH)
    # A local maximum equals the maximum of its neighborhood.
    lower = chops.difference(strength, strength.filter(pil.ImageFilter.MaxFilter(3)))
    values = chops.darker(lower.point(ZERO_ONLY), strength).tobytes()
    places = sorted(((values[hit.start()], hit.start()) for hit in NONZERO.finditer(values)), reverse=True)
    for value, at in places[:BLOBS_PER_RADIUS]:
        down, across = divmod(at, skin.width)
        yield value, (across + 0.5) * shrink, (down + 0.5) * shrink, radius


def _difference(image: pil.Image.Image, across: int, down: int) -> pil.Image.Image:
    """Return the color difference of each pixel from the pixel `across` and `down` of it, in mode L."""
    moved = image.crop((across, down, image.width + across, image.height + down))
    return pil.ImageChops.difference(image, moved).convert("L", DIFFERENCE)


@cache
def _units() -> list[tuple[list[int], list[int], int, Sequence[float], float, float]]:
    """Decode the hidden units: weights of gray, of skin, the sum of the former, more weights, bias, output weight."""
    count = PATCH_SIDE**2
    units: list[tuple[list[int], list[int], int, Sequence[float], float, float]] = []
    for text, more, bias, output in head_weights.UNITS:
        weights = [value - 128 for value in base64.b85decode(text)]
        units.append((weights[:count], weights[count:], sum(weights[:count]), more, bias, output))
    return units


def pad_maps(image: pil.Image.Image, maps: ColorMaps) -> pil.Image.Image:
    """Return brightness, skin likelihood and rarity of color in three bands, with a black margin around them."""
    bands = pil.Image.merge("RGB", (image.convert("L"), maps.skin, maps.rarity))
    return bands.crop((-MARGIN_PIXELS, -MARGIN_PIXELS, image.width + MARGIN_PIXELS, image.height + MARGIN_PIXELS))


def read_patch(padded: pil.Image.Image, blob: Blob) -> tuple[bytes, bytes, int]:
    """Return brightness and skin likelihood of the patch around a blob, row by row, and the rarity in its middle."""
    _, x, y, radius = blob
    x, y = x + MARGIN_PIXELS, y + MARGIN_PIXELS
    wide, high = PATCH_REACH[0] * radius, PATCH_REACH[1] * radius
    box = (x - wide, y - high, x + wide, y + high)
    patch = padded.resize((PATCH_SIDE, PATCH_SIDE), pil.Image.Resampling.BOX, box).tobytes()
    return patch[::3], patch[1::3], patch[(len(patch) // 3 // 2) * 3 + 2]


def _certainty(padded: pil.Image.Image, blob: Blob) -> float:
    """Return how certain the blob is a head: the network's output, from 0 to 1."""
    gray, skin, rarity = read_patch(padded, blob)
    mean = sum(gray) / len(gray)
    spread = math.sqrt(max(0.0, sum(map(mul, gray, gray)) / len(gray) - mean * mean)) + 12
    facts = (blob[0] / 255, blob[3] / 16, 12 / spread, rarity / 255)
    total = head_weights.BIAS
    for of_gray, of_skin, gray_sum, more, bias, output in _units():
        active = (
            (sum(map(mul, of_gray, gray)) - mean * gray_sum) / spread + sum(map(mul, of_skin, skin)) / 255
        ) / head_weights.SCALE
        active += sum(map(mul, more, facts)) + bias
        if active > 0:
            total += active * output
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, total))))
