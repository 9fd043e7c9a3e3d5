"""Pixels as plain numbers, for tests that compute them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable

from PIL import Image, ImageSequence

Pixels = list[tuple[int, ...]]


def pixels_of(image: Image.Image) -> Pixels:
    """Return the pixels in RGBA. Transparent pixels have no color."""
    body = image.convert("RGBA").tobytes()
    found = (tuple(body[at : at + 4]) for at in range(0, len(body), 4))
    return [pixel if pixel[3] else (0, 0, 0, 0) for pixel in found]


def frames_of(image: Image.Image) -> list[Pixels]:
    """Return the frames, with repetitions joined, which encoders do as well."""
    return joined(pixels_of(frame) for frame in ImageSequence.Iterator(image))


def joined(frames: Iterable[Pixels]) -> list[Pixels]:
    """Join equal frames that follow one another."""
    return [frame for frame, _ in itertools.groupby(frames)]


def colors(draw: random.Random, count: int) -> list[tuple[int, int, int]]:
    """Draw a palette."""
    return [(draw.randrange(256), draw.randrange(256), draw.randrange(256)) for _ in range(count)]
