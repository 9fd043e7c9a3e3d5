"""SSIMULACRA2 in numpy gives the scores of libjxl 0.11.2's program `ssimulacra2`, which were recorded here."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PIL import Image, ImageFilter

pytest.importorskip("numpy")

from benchmarks.quality.ssimulacra2 import Reference

TOLERANCE = 0.15
"""libjxl approximates cube roots."""


def scene(width: int, height: int) -> Image.Image:
    """Return hard edges and smooth areas in saturated colors. The pixels are the same in every version of Pillow."""
    values = bytes((place * place * 37 + place * 101) % 256 for place in range(16 * 12 * 3))
    tiles = Image.frombytes("RGB", (16, 12), values).resize((width, height), Image.Resampling.NEAREST)
    rows = Image.linear_gradient("L").resize((width, height))
    bands = [Image.radial_gradient("L").resize((width, height)), rows, rows.transpose(Image.Transpose.ROTATE_180)]
    return Image.blend(tiles, Image.merge("RGB", bands), 0.6)


def halved(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.resize((width // 2, height // 2), Image.Resampling.BOX).resize(
        (width, height), Image.Resampling.NEAREST
    )


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "blurred": lambda image: image.filter(ImageFilter.BoxBlur(1)),
    "posterized": lambda image: image.point([value // 24 * 24 for value in range(256)] * 3),
    "halved": halved,
    "darker": lambda image: image.point([value * 15 // 16 for value in range(256)] * 3),
    "noisy": lambda image: image.point([value ^ 3 for value in range(256)] * 3),
}
EXPECTED = {
    (160, 120): {"blurred": 60.834, "posterized": 36.991, "halved": 95.999, "darker": 75.879, "noisy": 89.470},
    (301, 203): {"blurred": 71.144, "posterized": 15.777, "halved": 63.094, "darker": 77.034, "noisy": 86.646},
    (64, 200): {"blurred": 49.365, "posterized": 44.552, "halved": 58.967, "darker": 80.045, "noisy": 85.058},
}


@pytest.mark.parametrize("size", EXPECTED)
def test_scores_equal_those_of_libjxl(size: tuple[int, int]) -> None:
    original = scene(*size)
    reference = Reference(original)
    scores = {name: reference.score(change(original)) for name, change in CHANGES.items()}
    assert scores == pytest.approx(EXPECTED[size], abs=TOLERANCE)


def test_an_identical_image_scores_100() -> None:
    assert Reference(scene(64, 48)).score(scene(64, 48)) == 100


def test_images_of_different_sizes_are_rejected() -> None:
    with pytest.raises(ValueError, match="differ in size"):
        Reference(scene(64, 48)).score(scene(48, 64))
