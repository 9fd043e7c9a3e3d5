"""The meaning of pixel values: profiles of color and gray, transparency next to a profile, and bit depth."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageCms, ImageStat

from pipeline.engine.decode.guard import MAX_METADATA_BYTES

from .conftest import Made, Run, encoded, gradient, job, opened, rendition, steps
from .measures import worst
from .profiles import delta_e, display_p3, linear_gray

WIDE = steps(("to_srgb", {"keep_profile": True}))


def straight(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert pixels to sRGB with LittleCMS directly."""
    made = ImageCms.profileToProfile(
        image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert made is not None
    return made


def test_a_rendition_without_profile_is_in_srgb(run: Run, tmp_path: Path) -> None:
    """One job makes wide-gamut colors for the rendition with a profile, and sRGB for the rendition without."""
    image, profile = gradient(40, 30), display_p3()
    wide, plain, moving = rendition("wide", "png"), rendition("plain", "png"), rendition("moving", "gif")
    wide["output"] = moving["output"] = {"keep": ["icc"]}
    report = run(encoded(image, icc_profile=profile), job(wide, plain, moving, shared=WIDE))
    assert report["failure"] is None
    assert opened(tmp_path / "wide").info["icc_profile"] == profile
    assert worst(opened(tmp_path / "wide"), image) == 0
    assert "icc_profile" not in opened(tmp_path / "plain").info
    assert delta_e(opened(tmp_path / "plain"), straight(image, profile)) < 1
    assert ImageStat.Stat(opened(tmp_path / "moving").convert("RGB")).mean == pytest.approx(
        ImageStat.Stat(straight(image, profile)).mean, abs=3
    )


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_a_kept_profile_brings_no_other_metadata_along(made: Made, tmp_path: Path, kind: str) -> None:
    exif = Image.Exif()
    exif[0x8298] = "secret"
    body = encoded(gradient(40, 30), "JPEG", icc_profile=display_p3(), comment=b"secret", exif=exif)
    document = job(rendition("out", kind), shared=WIDE)
    document["renditions"][0]["output"] = {"keep": ["icc"]}
    assert made(body, document).info["icc_profile"] == display_p3()
    assert b"secret" not in (tmp_path / "out").read_bytes()


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_transparent_color_survives_a_profile(made: Made, mode: str) -> None:
    image = Image.new(mode, (20, 20), "white")
    image.paste(Image.new(mode, (10, 20), "gray"))
    profile = display_p3() if mode == "RGB" else linear_gray()
    clear = (255, 255, 255) if mode == "RGB" else 255
    shown = made(encoded(image, icc_profile=profile, transparency=clear))
    assert shown.mode == "RGBA"
    assert [shown.getpixel((x, 9))[3] for x in (5, 15)] == [255, 0]


def _gray(mode: str) -> tuple[Image.Image, dict[str, Any]]:
    """Encode gray pixels in a mode."""
    level = Image.new("L", (20, 20), 128)
    if mode == "LA":
        level.putalpha(200)
        return level, {}
    if mode == "I;16":
        deep = Image.new("I;16", (20, 20), 128 * 257)
        return deep, {}
    return (level.convert("P") if mode == "P" else level), {}


@pytest.mark.parametrize("mode", ["L", "LA", "I;16", "P"])
def test_gray_is_read_by_its_profile_however_it_is_stored(made: Made, mode: str) -> None:
    """Half of linear light is 188 in sRGB."""
    image, options = _gray(mode)
    shown = made(encoded(image, icc_profile=linear_gray(), **options))
    seen = shown.getpixel((9, 9))
    levels = seen if isinstance(seen, tuple) else (seen,)
    assert all(abs(level - 188) <= 2 for level in levels[:3])
    assert shown.mode == ("RGBA" if mode == "LA" else "L" if mode != "P" else "RGB")
    assert mode != "LA" or levels[3] == 200


@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff", "webp"])
def test_a_gray_file_gets_no_profile_of_colors(made: Made, kind: str) -> None:
    document = job(rendition("out", kind))
    document["renditions"][0]["output"] = {"keep": ["icc"]}
    shown = made(gradient(40, 30).convert("L"), document)
    assert ("icc_profile" in shown.info) == (shown.mode != "L")


def test_a_deep_level_that_is_declared_clear_is_clear(made: Made) -> None:
    image = Image.new("I;16", (2, 1))
    image.putdata([257 * 100, 257 * 100 + 1])
    shown = made(encoded(image, transparency=257 * 100))
    assert [shown.getpixel((x, 0)) for x in (0, 1)] == [(100, 100, 100, 0), (100, 100, 100, 255)]


@pytest.mark.parametrize("odd", [float("inf"), float("nan"), float("-inf"), 3.4e38, -3.4e38])
def test_pixels_without_a_value_do_not_blacken_the_others(made: Made, odd: float) -> None:
    image = Image.new("F", (4, 1))
    image.putdata([odd, 0.0, 0.5, 1.0])
    shown = made(encoded(image, "TIFF"))
    assert list(shown.tobytes())[1:] == [0, 128, 255]


def _chunk(name: bytes, data: bytes) -> bytes:
    """Build a PNG chunk."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@pytest.mark.parametrize(
    ("depth", "color", "pixels", "clear"),
    [
        (1, 0, b"\x40", b"\0\1"),
        (2, 0, b"\x10", b"\0\1"),
        (4, 0, b"\x01", b"\0\1"),
        (8, 0, b"\0\1", b"\0\1"),
        (16, 0, b"\0\0\1\0", b"\1\0"),
        (8, 2, b"\0\0\0\1\2\3", b"\0\1\0\2\0\3"),
        (16, 2, b"\0\0\0\0\0\0\1\0\2\0\3\0", b"\1\0\2\0\3\0"),
    ],
)
def test_the_clear_color_of_a_png_is_found_in_every_depth(
    made: Made, depth: int, color: int, pixels: bytes, clear: bytes
) -> None:
    """Of two pixels side by side, the second has the color declared transparent (ISO/IEC 15948, 11.3.2.1)."""
    header = _chunk(b"IHDR", struct.pack(">2I5B", 2, 1, depth, color, 0, 0, 0))
    data = _chunk(b"tRNS", clear) + _chunk(b"IDAT", zlib.compress(b"\0" + pixels)) + _chunk(b"IEND", b"")
    shown = made(b"\x89PNG\r\n\x1a\n" + header + data)
    assert list(shown.getchannel("A").tobytes()) == [255, 0]


def _png_with_text(size: int) -> bytes:
    """Build a PNG with a compressed text."""
    body = encoded(gradient(40, 30))
    return body[:33] + _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(size))) + body[33:]


def test_large_metadata_is_no_damage(run: Run, made: Made) -> None:
    assert made(_png_with_text(3_000_000)).size == (40, 30)
    failure = run(_png_with_text(MAX_METADATA_BYTES + 1))["failure"]
    assert failure is not None
    assert "decompress to more than 8 MB" in failure["message"]
