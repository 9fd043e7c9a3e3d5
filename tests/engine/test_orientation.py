"""Orientation: in every format the image is rotated upright exactly once."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw, PngImagePlugin

from pipeline.engine.transforms.auto_orient import ORIENTATION

from .conftest import BACK, Run, encoded, job, opened, rendition

EXACT = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}, "AVIF": {"quality": 100}}
MARKS = {(15, 10): (255, 0, 0), (45, 10): (0, 255, 0), (15, 30): (0, 0, 255), (45, 30): (255, 255, 255)}


def corners() -> Image.Image:
    """Draw red and green at the top, blue and white at the bottom."""
    image = Image.new("RGB", (60, 40), "white")
    pen = ImageDraw.Draw(image)
    for (x, y), color in MARKS.items():
        pen.rectangle((x - 15, y - 10, x + 14, y + 9), fill=color)
    return image


def lying(orientation: int, image: Image.Image) -> Image.Image:
    """Transpose the image as a camera with this orientation stores it."""
    back = BACK[orientation]
    return image if back is None else image.transpose(Image.Transpose(back))


def tagged(orientation: int) -> Image.Exif:
    """Build EXIF data with an orientation."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def check_upright(run: Run, folder: Path, body: bytes) -> None:
    """Check that the corners have their colors."""
    report = run(body, job(rendition(), formats=["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"]))
    assert report["failure"] is None
    assert report["source"] is not None
    assert (report["source"]["width"], report["source"]["height"]) == (60, 40)
    shown = opened(folder / "out").convert("RGB")
    assert shown.size == (60, 40)
    for place, color in MARKS.items():
        seen = shown.getpixel(place)
        assert isinstance(seen, tuple)
        assert all(abs(one - other) < 40 for one, other in zip(seen, color, strict=True)), place


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_an_image_is_turned_once(run: Run, tmp_path: Path, kind: str, orientation: int) -> None:
    body = encoded(lying(orientation, corners()), kind, exif=tagged(orientation), **EXACT.get(kind, {}))
    check_upright(run, tmp_path, body)


XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_compressed_tiff_is_turned_once(run: Run, tmp_path: Path, orientation: int, compression: str) -> None:
    body = encoded(lying(orientation, corners()), "TIFF", exif=tagged(orientation), compression=compression)
    check_upright(run, tmp_path, body)


def _texts(**texts: str) -> PngImagePlugin.PngInfo:
    """Build text chunks of a PNG."""
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_text(name.replace("_", " "), text, zip=True)
    return info


def _profile_text() -> str:
    """Write EXIF data as ImageMagick does: hexadecimal digits in a text chunk."""
    body = tagged(6).tobytes()
    return f"\nexif\n{len(body):8}\n{body.hex()}\n"


@pytest.mark.parametrize("orientation", [1, 3, 8])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_an_orientation_in_xmp_does_not_count(run: Run, tmp_path: Path, kind: str, orientation: int) -> None:
    """Browsers, sharp and libvips read EXIF only. Here XMP contradicts it, or says something where EXIF is silent."""
    exif = Image.Exif() if orientation == 1 else tagged(orientation)
    options: dict[str, Any] = {"exif": exif, "xmp": XMP}
    if kind == "TIFF":
        exif[700] = XMP
    if kind == "PNG":
        options["pnginfo"] = _texts(**{"XML:com.adobe.xmp": XMP.decode()})
    body = encoded(lying(orientation, corners()), kind, **options, **EXACT.get(kind, {}))
    check_upright(run, tmp_path, body)


def test_an_orientation_in_a_text_does_not_count(run: Run, tmp_path: Path) -> None:
    check_upright(run, tmp_path, encoded(corners(), pnginfo=_texts(Raw_profile_type_exif=_profile_text())))


def test_an_orientation_that_is_given_twice_counts_once(run: Run, tmp_path: Path) -> None:
    texts = _texts(**{"XML:com.adobe.xmp": XMP.decode(), "Raw_profile_type_exif": _profile_text()})
    check_upright(run, tmp_path, encoded(lying(6, corners()), exif=tagged(6), pnginfo=texts))


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_heic_photo_is_turned_once(run: Run, tmp_path: Path, orientation: int) -> None:
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    packed = io.BytesIO()
    heif.from_pillow(lying(orientation, corners())).save(packed, quality=100, exif=tagged(orientation).tobytes())
    check_upright(run, tmp_path, packed.getvalue())
