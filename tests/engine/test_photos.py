"""Pixel quality on real photos, which `scripts/demo` fetches on its first run."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from .conftest import Run, encoded, job, opened, rendition
from .measures import ssim

FOLDER = Path(__file__).parents[2] / ".cache" / "photos"
NAMES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "retina.jpg", "hubble_deep_field.jpg")


@pytest.fixture(params=NAMES)
def photo(request: pytest.FixtureRequest) -> Image.Image:
    """Open one photo in RGB."""
    file = next(FOLDER.rglob(request.param), None)
    if file is None:
        pytest.skip(f"{request.param} is not in {FOLDER.name}: scripts/test and scripts/demo fetch the photos")
    return opened(file).convert("RGB")


@pytest.mark.parametrize("share", [0.415, 0.185, 0.073])
def test_fast_decoding_of_photos_looks_like_exact_decoding(
    photo: Image.Image, share: float, run: Run, tmp_path: Path
) -> None:
    """The scales are those at which a JPEG is just decoded at 1/2, 1/4 and 1/8, where the difference is largest."""
    body = encoded(photo, "JPEG", quality=92)
    sides = [max(16, round(photo.width * share * part)) for part in (1, 0.5)]
    report = run(body, job(*(rendition(str(side), "png", ("resize", {"width": side})) for side in sides)))
    assert report["failure"] is None
    with Image.open(io.BytesIO(body)) as exact:
        for made in report["renditions"]:
            expected = exact.resize((made["width"], made["height"]), Image.Resampling.LANCZOS)
            assert ssim(opened(tmp_path / made["file"]), expected) >= 0.98, made["name"]
