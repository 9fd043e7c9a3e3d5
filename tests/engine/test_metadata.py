"""Metadata that a rendition keeps, and metadata stripped from a source's own file."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from pipeline.engine.encode import strip
from pipeline.engine.protocol import Job

from .conftest import Made, encoded, gradient, job, noise, rendition
from .measures import worst

LAYERS = 0x935C
SECRET = b"a secret"


def keeping(kind: str, *keep: str, width: int = 40) -> Job:
    """Build a job whose rendition keeps metadata."""
    document = job(rendition("out", kind, ("resize", {"width": width})))
    document["renditions"][0]["output"] = {"keep": list(keep)}
    return document


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "avif", "tiff"])
def test_the_layers_of_another_program_are_not_kept(made: Made, tmp_path: Path, kind: str) -> None:
    body = encoded(gradient(40, 30), "TIFF", tiffinfo={0x010F: "maker", LAYERS: SECRET * 20_000})
    exif = made(body, keeping(kind, "exif")).getexif()
    assert exif[0x010F] == "maker"
    assert SECRET not in (tmp_path / "out").read_bytes()


def test_of_too_much_metadata_for_a_jpeg_the_largest_is_left_out(made: Made) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x8298], exif[0x010E] = "maker", "someone", "x" * 70_000
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FNumber] = 2.8
    body = encoded(gradient(40, 30), "PNG", exif=exif)
    kept = made(body, keeping("jpeg", "exif")).getexif()
    assert (kept[0x010F], kept[0x8298], 0x010E in kept) == ("maker", "someone", False)
    assert kept.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FNumber] == 2.8
    assert made(body, keeping("png", "exif")).getexif()[0x010E] == "x" * 70_000


def test_the_size_that_is_kept_is_that_of_the_rendition(made: Made) -> None:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif).update({0xA002: 40, 0xA003: 30, 0x9214: (20, 15)})
    kept = made(encoded(gradient(40, 30), "JPEG", exif=exif), keeping("jpeg", "exif", width=20)).getexif()
    assert dict(kept.get_ifd(ExifTags.IFD.Exif)) == {0xA002: 20, 0xA003: 15}


def same_picture(one: bytes, other: bytes) -> bool:
    """Return True when two files decode to the same pixels."""
    with Image.open(io.BytesIO(one)) as first, Image.open(io.BytesIO(other)) as second:
        return worst(first.convert("RGBA"), second.convert("RGBA")) == 0


def test_a_jpeg_is_stripped_between_its_scans_and_after_its_end() -> None:
    body = encoded(noise((64, 48), 60), "JPEG", progressive=True, restart_marker_rows=1, comment=SECRET)
    marked, start = b"", 0
    comment = b"\xff\xfe" + struct.pack(">H", len(SECRET) + 2) + SECRET
    while (at := body.find(b"\xff\xda", start + 2)) >= 0:
        marked += body[start:at] + comment
        start = at
    marked += body[start:] + encoded(gradient(9, 9), "JPEG", comment=SECRET)
    assert marked.count(SECRET) > 4
    assert same_picture(marked, body)
    strip_metadata = strip.strip_metadata(marked, "JPEG")
    assert SECRET not in strip_metadata
    assert same_picture(strip_metadata, body)
    assert strip_metadata == strip.strip_metadata(body, "JPEG")
    assert strip.strip_metadata(b"\xff\xd8\xff" + body[2:], "JPEG") == strip_metadata


def test_a_jpeg_without_an_end_is_not_taken() -> None:
    body = encoded(noise((64, 48), 60), "JPEG")
    with pytest.raises(strip.StripError):
        strip.strip_metadata(body[:-2], "JPEG")


@pytest.mark.parametrize("lossless", [True, False])
def test_a_stripped_webp_keeps_pixels_and_profile_only(lossless: bool) -> None:
    clear = gradient(40, 30)
    clear.putalpha(99)
    body = encoded(clear, "WEBP", lossless=lossless, exif=b"Exif\0\0" + SECRET, icc_profile=b"p" * 200)
    odd = b"JUNK" + struct.pack("<I", len(SECRET)) + SECRET
    whole = b"RIFF" + struct.pack("<I", len(body) - 8 + len(odd)) + body[8:] + odd + SECRET + encoded(clear, "WEBP")
    strip_metadata = strip.strip_metadata(whole, "WEBP")
    assert SECRET not in strip_metadata
    assert same_picture(strip_metadata, body)
    assert strip_metadata[:4] == b"RIFF"
    assert len(strip_metadata) == 8 + int.from_bytes(strip_metadata[4:8], "little") < len(body)
    with Image.open(io.BytesIO(strip_metadata)) as shown:
        assert shown.info["icc_profile"] == b"p" * 200
    for cut in (body[:-5], encoded(clear, "WEBP", save_all=True, append_images=[gradient(40, 30)])):
        with pytest.raises(strip.StripError):
            strip.strip_metadata(cut, "WEBP")


def test_a_stripped_png_keeps_its_color_chunks() -> None:
    body = encoded(gradient(40, 30))

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    meaning = chunk(b"cICP", bytes((9, 16, 0, 1)))
    assert (
        strip.strip_metadata(body[:33] + meaning + chunk(b"tEXt", b"a\0b") + body[33:], "PNG")
        == body[:33] + meaning + body[33:]
    )
