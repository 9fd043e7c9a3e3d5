"""Calibration of equal qualities: the search, and inputs without metadata."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.quality import encoders, photos
from benchmarks.quality.nearest_quality import nearest
from pipeline.engine.encode.equal_quality import equal_quality

from ..engine.profiles import display_p3


@pytest.mark.parametrize("guess", [1, 40, 61, 62, 63, 100])
@pytest.mark.parametrize(
    ("score", "aim", "found"),
    [
        (lambda quality: quality * 0.6 + 30, 67.3, 62),
        (lambda quality: quality // 2 * 1.2, 37.0, 62),  # two numbers make the same file
        (lambda quality: quality * 0.1, 50.0, 100),
        (lambda quality: quality * 0.1 + 60, 50.0, 1),
        (lambda quality: quality**0.5 * 9, 70.0, 60),
    ],
)
def test_the_nearest_quality_is_found_from_any_guess(
    guess: int, score: Callable[[int], float], aim: float, found: int
) -> None:
    measured: dict[int, float] = {}
    assert nearest(aim, measured, score, guess) == found
    assert len(measured) < 60


def test_calibrated_values_are_those_that_auto_and_keep_use() -> None:
    class Judge:
        def __init__(self, jpeg_80: float) -> None:
            self.jpeg_80 = jpeg_80

        def result(self, encoder: encoders.Encoder) -> encoders.Result:
            name, quality = encoder.name.split(",")[0].split()
            if name == "jpeg":
                score = self.jpeg_80 if quality == "80" else float(quality)
            else:
                known = {equal_quality(name, each): each for each in encoders.CALIBRATED}
                near = min(known, key=lambda each: abs(each - int(quality)))
                score = known[near] + (int(quality) - near) * 0.9
            return encoders.Result({"photo": 1}, {"photo": score}, 0.0)

    assert encoders.calibrate([Judge(80.0)])  # type: ignore[list-item]
    assert not encoders.calibrate([Judge(77.0)])  # type: ignore[list-item]


def test_photos_have_no_metadata_that_encoders_would_write(tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg"):
        Image.new("RGB", (64, 48), "red").save(tmp_path / name, icc_profile=display_p3(), exif=Image.Exif().tobytes())
    assert [photo.info for photo in photos.own(tmp_path).values()] == [{}, {}]
