"""HEIC sources, where the session has a decoder for them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from .conftest import Run, gradient, job, opened, rendition

pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")


def heic(image: Image.Image, **options: object) -> bytes:
    """Encode an image as HEIC."""
    packed = io.BytesIO()
    pillow_heif.from_pillow(image).save(packed, **options)
    return packed.getvalue()


def test_a_heic_photo_becomes_its_renditions(run: Run, tmp_path: Path) -> None:
    picture = gradient(640, 480)
    report = run(heic(picture, quality=95), job(rendition(), formats=["HEIF"]))
    assert report["failure"] is None
    assert report["source"] is not None
    assert (report["source"]["format"], report["source"]["width"], report["source"]["height"]) == ("HEIF", 640, 480)
    difference = ImageChops.difference(opened(tmp_path / "out").convert("RGB"), picture.convert("RGB"))
    assert max(ImageStat.Stat(difference).mean) < 3


def test_a_rotated_heic_photo_is_turned_upright_once(run: Run, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    report = run(heic(gradient(640, 480), quality=95, exif=exif.tobytes()), job(rendition(), formats=["HEIF"]))
    assert report["failure"] is None
    assert opened(tmp_path / "out").size == (480, 640)


def test_a_heic_photo_that_is_cut_short_is_a_clear_failure(run: Run) -> None:
    body = heic(gradient(640, 480), quality=95)
    failure = run(body[: len(body) // 2], job(formats=["HEIF"]))["failure"]
    assert failure is not None
    assert failure["kind"] == "damaged_image"


def test_a_heic_bomb_is_refused_before_it_is_decoded(run: Run) -> None:
    failure = run(heic(gradient(640, 480)), job(formats=["HEIF"], max_pixels=1000))["failure"]
    assert failure is not None
    assert failure["kind"] == "too_many_pixels"
