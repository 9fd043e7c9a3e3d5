"""Partial JPEG decoding: only the rows that a crop needs are decoded, with the same pixels."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from pipeline.engine.cmyk import cmyk_to_srgb
from pipeline.engine.decode import jpeg_rows
from pipeline.engine.transforms.auto_orient import ORIENTATION

from .conftest import Made, Run, encoded, gradient, job, rendition, steps
from .measures import worst
from .test_pixels import lively

BOX = [100, 30, 300, 130]


@pytest.mark.parametrize(
    "options",
    [
        {"subsampling": "4:2:0"},
        {"subsampling": "4:2:2"},
        {"subsampling": "4:4:4"},
        {"subsampling": "4:2:0", "restart_marker_blocks": 7},
        {"subsampling": "4:2:0", "optimize": True},
        {"progressive": True},
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_the_pixels_equal_those_of_a_full_decode(made: Made, options: dict[str, Any], mode: str) -> None:
    body = encoded(lively(400, 901).convert(mode), "JPEG", quality=88, **options)
    with Image.open(io.BytesIO(body)) as image:
        whole = cmyk_to_srgb(image) if mode == "CMYK" else image.copy()
        expected = whole.crop(tuple(BOX))
    assert worst(made(body, job(shared=steps(("crop", {"box": BOX})))), expected) == 0


def test_it_is_used_where_it_helps_and_only_there() -> None:
    body = encoded(gradient(400, 900), "JPEG")
    assert jpeg_rows.truncate_rows(body, 130) is not None
    assert jpeg_rows.truncate_rows(body + b"\0\0", 130) is not None
    assert jpeg_rows.truncate_rows(body, 800) is None
    assert jpeg_rows.truncate_rows(body[:-2], 130) is None
    assert jpeg_rows.truncate_rows(encoded(gradient(400, 900), "JPEG", progressive=True), 130) is None
    assert jpeg_rows.truncate_rows(b"\xff\xd8\xff", 1) is None


def test_a_file_that_was_cut_short_below_the_crop_still_fails(run: Run) -> None:
    body = encoded(lively(400, 900), "JPEG")
    assert (
        run(body[: len(body) * 3 // 4], job(shared=steps(("crop", {"box": BOX}))))["failure"]["kind"] == "damaged_image"
    )


@pytest.mark.parametrize("orientation", [3, 6])
def test_rotated_images_are_decoded_whole(made: Made, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    upright = gradient(400, 900)
    turned = upright.transpose(Image.Transpose.ROTATE_180 if orientation == 3 else Image.Transpose.ROTATE_90)
    shown = made(encoded(turned, "JPEG", quality=95, exif=exif), job(shared=steps(("crop", {"box": BOX}))))
    assert worst(shown, upright.crop(tuple(BOX))) < 12


def test_one_rendition_that_needs_all_of_it_gets_all_of_it(run: Run) -> None:
    body = encoded(gradient(400, 900), "JPEG")
    report = run(body, job(rendition("crop", "png", ("crop", {"box": BOX})), rendition("whole", "png")))
    assert [(made["width"], made["height"]) for made in report["renditions"]] == [(200, 100), (400, 900)]
    assert report["source"]["height"] == 900
