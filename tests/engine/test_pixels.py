"""Correct pixels: orientation, color, bit depth, transparency and sizes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageDraw, ImageFilter, PngImagePlugin

from pipeline.engine.transforms.auto_orient import ORIENTATION

from .conftest import BACK, Made, Run, encoded, gradient, job, noise, opened, rendition, steps
from .measures import ssim, worst

Step = tuple[str, dict[str, Any]]


def _exif(orientation: int) -> Image.Exif:
    """Build EXIF data with an orientation."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "step", [("crop", {"box": [5, 7, 45, 27]}), ("crop", {"aspect": "1:1", "gravity": "top-left"})]
)
def test_a_crop_is_the_same_however_the_camera_was_held(made: Made, orientation: int, step: Step) -> None:
    upright = gradient(64, 48)
    back = BACK[orientation]
    stored = upright if back is None else upright.transpose(Image.Transpose(back))
    shown = made(encoded(stored, "PNG", exif=_exif(orientation)), job(shared=steps(step)))
    assert worst(shown, made(upright, job(shared=steps(step)))) == 0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("width", [61, 110, 240])
def test_turned_jpegs_are_decoded_small_and_nothing_shifts(made: Made, orientation: int, width: int) -> None:
    """The decoder rounds up sides that 8 does not divide; the added pixels must not count as part of the image."""
    upright = lively(635, 475)
    back = BACK[orientation]
    stored = upright if back is None else upright.transpose(Image.Transpose(back))
    body = encoded(stored, "JPEG", quality=95, subsampling=0, exif=_exif(orientation))
    shown = made(body, job(rendition("out", "png", ("resize", {"width": width}))))
    assert ssim(shown, upright.resize(shown.size, Image.Resampling.LANCZOS)) > 0.985


def lively(width: int, height: int) -> Image.Image:
    """Draw smooth shapes and fine grain, as in photos."""
    shapes = noise((width // 12, height // 12), 120).resize((width, height), Image.Resampling.BICUBIC)
    grain = noise((width, height), 40).filter(ImageFilter.GaussianBlur(0.8))
    light = Image.blend(shapes, grain, 0.25)
    return Image.merge(
        "RGB", (light, gradient(width, height).getchannel(0), light.transpose(Image.Transpose.ROTATE_180))
    )


@pytest.mark.parametrize("garbage", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_ignored(made: Made, garbage: int) -> None:
    assert worst(made(encoded(gradient(64, 48), exif=_exif(garbage))), gradient(64, 48)) == 0


def test_a_profile_of_another_mode_is_not_used(made: Made) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert worst(made(encoded(gradient(40, 30), icc_profile=lab)), gradient(40, 30)) == 0


def test_a_broken_profile_is_ignored(made: Made) -> None:
    broken = b"\0" * 16 + b"RGB " + b"\0" * 16 + b"acsp" + b"\0" * 200
    assert worst(made(encoded(gradient(40, 30), icc_profile=broken)), gradient(40, 30)) == 0


def test_an_srgb_profile_changes_next_to_nothing(made: Made) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert worst(made(encoded(gradient(40, 30), icc_profile=profile)), gradient(40, 30)) <= 1


INKS = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255), (0, 255, 255, 0), (255,) * 4]
PRINTED = [(255, 255, 255), (0, 159, 227), (230, 0, 126), (255, 237, 0), (30, 30, 30), (227, 10, 22), (0, 0, 0)]


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_inks_without_a_profile_are_those_of_coated_paper(made: Made, kind: str) -> None:
    """Areas of 16×16 pixels survive JPEG. The colors are those of the solids, with paper as white."""
    options = {"JPEG": {"quality": 100, "subsampling": 0}}.get(kind, {})
    image = Image.new("CMYK", (16 * len(INKS), 16))
    for at, ink in enumerate(INKS):
        image.paste(ink, (16 * at, 0, 16 * at + 16, 16))
    shown = made(encoded(image, kind, **options))
    assert shown.mode == "RGB"
    for at, color in enumerate(PRINTED):
        seen = shown.getpixel((16 * at + 8, 8))
        assert isinstance(seen, tuple)
        assert all(abs(one - other) <= 2 for one, other in zip(seen, color, strict=True)), INKS[at]


def test_gray_ink_darkens_steadily(made: Made) -> None:
    image = Image.new("CMYK", (256, 1))
    image.putdata([(0, 0, 0, value) for value in range(256)])
    levels = made(encoded(image, "TIFF")).convert("L").tobytes()
    assert list(levels) == sorted(levels, reverse=True)
    assert len(set(levels)) > 150


def test_sixteen_bits_are_scaled_and_not_cut(made: Made) -> None:
    image = Image.new("I;16", (256, 1))
    image.putdata([value * 257 for value in range(256)])
    shown = made(encoded(image))
    assert shown.mode == "L"
    assert list(shown.tobytes()) == list(range(256))


def test_palette_transparency_survives(made: Made) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    shown = made(encoded(image, transparency=0), job(rendition("out", "webp", lossless=True)))
    assert [shown.getpixel((0, 0))[3], shown.getpixel((1, 0))] == [0, (0, 0, 255, 255)]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "avif"])
def test_every_mode_goes_into_every_format(made: Made, mode: str, kind: str) -> None:
    image = gradient(40, 30).convert(mode)
    shown = made(image, job(rendition("out", kind, ("resize", {"width": 20}))))
    assert shown.size == (20, 15)


@pytest.mark.parametrize("mode", ["CMYK", "I", "F", "I;16", "LAB"])
def test_the_rarer_modes_of_tiff_are_read(made: Made, mode: str) -> None:
    image = Image.new(mode, (40, 30)) if mode in {"LAB", "I;16"} else gradient(40, 30).convert("L").convert(mode)
    assert made(encoded(image, "TIFF")).size == (40, 30)


def test_half_transparent_edges_get_no_dark_halo(made: Made) -> None:
    image = Image.new("RGBA", (200, 200), (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse((40, 40, 160, 160), fill=(255, 255, 255, 102))
    shown = made(image, job(rendition("out", "png", ("resize", {"width": 50}))))
    body = shown.tobytes()
    pixels = [body[at : at + 4] for at in range(0, len(body), 4)]
    assert all(min(pixel[:3]) >= 250 for pixel in pixels if pixel[3] > 8)


def test_transparency_becomes_the_background_in_a_jpeg(made: Made) -> None:
    image = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    shown = made(image, job(rendition("out", "jpeg", background="#00ff00", quality=95)))
    assert worst(shown, Image.new("RGB", (20, 20), (0, 255, 0))) <= 3


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "avif"])
def test_a_recipe_that_does_nothing_still_strips_the_location(made: Made, kind: str) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8825)[1] = "N"
    exif[0x8298] = "someone"
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "secret")
    for body in (
        encoded(gradient(40, 30), "JPEG", exif=exif, comment=b"secret"),
        encoded(gradient(40, 30), "PNG", exif=exif, pnginfo=info),
        encoded(gradient(40, 30), "WEBP", exif=exif, xmp=b"<x:xmpmeta>secret</x:xmpmeta>"),
    ):
        shown = made(body, job(rendition("out", kind)))
        assert not shown.getexif()
        assert not {"exif", "xmp", "comment", "Comment", "icc_profile", "photoshop"} & set(shown.info)


@pytest.mark.parametrize(
    ("source", "params", "size"),
    [
        ((400, 300), {"width": 200}, (200, 150)),
        ((400, 300), {"height": 150}, (200, 150)),
        ((400, 300), {"width": 200, "height": 200}, (200, 150)),
        ((100, 80), {"width": 200}, (100, 80)),
        ((100, 80), {"width": 200, "enlarge": True}, (200, 160)),
        ((400, 300), {"width": 200, "height": 200, "mode": "cover"}, (200, 200)),
        ((100, 80), {"width": 200, "height": 200, "mode": "cover"}, (80, 80)),
        ((100, 300), {"width": 200, "height": 200, "mode": "cover"}, (100, 100)),
        ((100, 80), {"width": 200, "height": 200, "mode": "cover", "enlarge": True}, (200, 200)),
        ((400, 300), {"width": 200, "height": 200, "mode": "contain"}, (200, 200)),
        ((100, 80), {"width": 200, "height": 200, "mode": "contain"}, (200, 200)),
        ((400, 300), {"width": 200, "height": 200, "mode": "pad"}, (200, 200)),
        ((100, 80), {"width": 200, "height": 200, "mode": "pad"}, (100, 100)),
        ((400, 300), {"width": 200, "height": 50, "mode": "stretch"}, (200, 50)),
        ((100, 80), {"width": 200, "height": 50, "mode": "stretch"}, (100, 50)),
        ((400, 300), {"scale": 0.5}, (200, 150)),
        ((400, 300), {"scale": 2.0}, (400, 300)),
        ((1, 10_000), {"width": 100, "height": 100}, (1, 100)),
        ((10_000, 1), {"width": 100, "height": 100}, (100, 1)),
    ],
)
def test_resize_gives_the_size_that_it_says(
    made: Made, source: tuple[int, int], params: dict[str, Any], size: tuple[int, int]
) -> None:
    image = Image.new("RGB", source, "red")
    assert made(image, job(rendition("out", "png", ("resize", params)))).size == size


def test_cover_keeps_the_part_that_gravity_names(made: Made) -> None:
    image = gradient(300, 100)
    params = {"width": 100, "height": 100, "mode": "cover"}
    for gravity, left in (("left", 0), ("center", 100), ("right", 200)):
        shown = made(image, job(shared=steps(("resize", {**params, "gravity": gravity}))))
        assert worst(shown, image.crop((left, 0, left + 100, 100))) == 0


def test_contain_puts_the_whole_image_on_the_background(made: Made) -> None:
    params = {"width": 100, "height": 100, "mode": "contain", "background": "#0000ff"}
    shown = made(Image.new("RGB", (200, 100), "red"), job(shared=steps(("resize", params))))
    assert [shown.getpixel((50, y)) for y in (0, 24, 25, 74, 75, 99)] == [
        (0, 0, 255),
        (0, 0, 255),
        (255, 0, 0),
        (255, 0, 0),
        (0, 0, 255),
        (0, 0, 255),
    ]


@pytest.mark.parametrize(
    ("params", "box"),
    [
        ({"box": [10, 20, 40, 60]}, (10, 20, 40, 60)),
        ({"box": ["10%", "20%", "40%", "60%"]}, (10, 16, 40, 48)),
        ({"aspect": "1:1"}, (10, 0, 90, 80)),
        ({"aspect": "1:1", "gravity": "left"}, (0, 0, 80, 80)),
        ({"aspect": "2:1", "gravity": "bottom"}, (0, 30, 100, 80)),
    ],
)
def test_crop_takes_exactly_its_part(made: Made, params: dict[str, Any], box: tuple[int, int, int, int]) -> None:
    image = gradient(100, 80)
    assert worst(made(image, job(shared=steps(("crop", params)))), image.crop(box)) == 0


def test_the_tutorials_crop_is_exactly_pillows(made: Made) -> None:
    body = encoded(gradient(800, 600), "JPEG", quality=90)
    with Image.open(io.BytesIO(body)) as image:
        expected = image.crop((100, 100, 400, 400))
    assert worst(made(body, job(shared=steps(("crop", {"box": [100, 100, 400, 400]})))), expected) == 0


SIZES = st.integers(1, 90)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    source=st.tuples(SIZES, SIZES) | st.sampled_from([(1, 10_000), (10_000, 1)]),
    width=SIZES,
    height=SIZES,
    mode=st.sampled_from(["fit", "cover", "contain", "pad", "stretch"]),
    enlarge=st.booleans(),
    aspect=st.sampled_from(["1:1", "16:9", "1:9999", "9999:1"]),
)
def test_sizes_stay_within_their_limits_and_are_never_empty(
    made: Made, source: tuple[int, int], width: int, height: int, mode: str, enlarge: bool, aspect: str
) -> None:
    params = {"width": width, "height": height, "mode": mode, "enlarge": enlarge}
    shown = made(Image.new("L", source, 99), job(shared=steps(("crop", {"aspect": aspect}), ("resize", params))))
    assert 1 <= shown.width <= width
    assert 1 <= shown.height <= height
    if mode == "contain":
        assert shown.size == (width, height)


@pytest.mark.parametrize("shares", [(0.41, 0.3, 0.2), (0.18, 0.1, 0.09), (0.07, 0.035), (0.5, 0.49, 0.26, 0.125)])
def test_fast_decoding_looks_like_exact_decoding(run: Run, tmp_path: Path, shares: tuple[float, ...]) -> None:
    """A JPEG decoded at a fraction, and renditions made from larger ones, have an SSIM of 0.98 or more."""
    photo = lively(2001, 1499)
    body = encoded(photo, "JPEG", quality=92)
    sides = [round(share * 2001) for share in shares]
    report = run(body, job(*(rendition(str(side), "png", ("resize", {"width": side})) for side in sides)))
    with Image.open(io.BytesIO(body)) as exact:
        for made in report["renditions"]:
            expected = exact.resize((made["width"], made["height"]), Image.Resampling.LANCZOS)
            assert ssim(opened(tmp_path / made["file"]), expected) >= 0.98, made["name"]
