"""Damaged pixel data: a source that Pillow's strict decoder rejects fails, or its renditions are marked as patched."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageFile

from benchmarks.quality.damage import rejected
from pipeline.engine.decode import exif
from pipeline.engine.protocol import Job

from .conftest import Run, encoded, gradient, job, noise, opened, rendition
from .containers import SIGNATURE, Chunk, chunk_of, chunks_of, interlaced, png_of

EXIF = Image.Exif()
EXIF[0x0112] = 6
EXIF[0x8298] = "(c) Harbour"
FLIPS = 20
SIZE = (61, 47)
PHOTO = Image.merge("RGB", [noise(SIZE, 40), noise(SIZE, 60), gradient(*SIZE).getchannel("R")])
FRAMES = [PHOTO.rotate(90 * turn) for turn in range(3)]


def with_late_exif(body: bytes) -> bytes:
    """Put an eXIf chunk between the pixels and the end of a PNG."""
    *head, end = chunks_of(body)
    return png_of(*head, (b"eXIf", EXIF.tobytes().removeprefix(b"Exif\0\0")), end)


def split(body: bytes) -> bytes:
    """Split the pixel data of a PNG into IDAT chunks of 500 bytes."""
    parts: list[Chunk] = []
    for kind, data in chunks_of(body):
        size = 500 if kind == b"IDAT" else len(data) or 1
        parts += [(kind, data[place : place + size]) for place in range(0, len(data) or 1, size)]
    return png_of(*parts)


def animated(kind: str, **options: Any) -> bytes:
    """Encode three frames."""
    return encoded(FRAMES[0], kind, save_all=True, append_images=FRAMES[1:], duration=50, **options)


PNGS: dict[str, bytes] = {
    "gray": encoded(PHOTO.convert("L")),
    "gray, 1 bit": encoded(PHOTO.convert("1")),
    "gray, 16 bits": encoded(noise(SIZE, 60).convert("I").point(lambda v: v * 257).convert("I;16")),
    "gray and alpha": encoded(PHOTO.convert("LA")),
    "RGB": encoded(PHOTO),
    "RGB, stored": encoded(PHOTO, compress_level=0),
    "RGBA": encoded(PHOTO.convert("RGBA")),
    "palette": encoded(PHOTO.quantize(200)),
    "interlaced": interlaced(SIZE, noise(SIZE, 60).tobytes()),
    "several IDAT": split(encoded(PHOTO)),
    "EXIF before the pixels": encoded(PHOTO, exif=EXIF),
    "EXIF after the pixels": with_late_exif(encoded(PHOTO)),
    "animation": animated("PNG"),
    "animation behind a default image": animated("PNG", default_image=True),
}
"""One PNG for each way in which pixels and metadata can lie in it."""

OTHERS: dict[str, bytes] = {
    "GIF": encoded(PHOTO, "GIF"),
    "GIF animation": animated("GIF"),
    **{f"TIFF {name}": encoded(PHOTO, "TIFF", compression=name) for name in ("raw", "tiff_lzw", "tiff_adobe_deflate")},
    "TIFF with EXIF": encoded(PHOTO, "TIFF", compression="tiff_lzw", exif=EXIF),
    "WebP": encoded(PHOTO, "WEBP"),
    "WebP, lossless": encoded(PHOTO, "WEBP", lossless=True),
    "WebP animation": animated("WEBP"),
    "AVIF": encoded(PHOTO, "AVIF"),
    "AVIF animation": animated("AVIF"),
    "BMP": encoded(PHOTO, "BMP"),
    "JPEG": encoded(PHOTO, "JPEG"),
    "JPEG, progressive, with EXIF": encoded(PHOTO, "JPEG", progressive=True, exif=EXIF),
}
"""One file for each other kind of decoder."""


def flipped(body: bytes, place: int, bit: int) -> bytes:
    """Change one bit."""
    changed = bytearray(body)
    changed[place] ^= 1 << bit
    return bytes(changed)


def flips_in_png(body: bytes) -> Iterator[bytes]:
    """Yield copies of a PNG with one bit of the pixel data changed, and with chunk checksums that fit the change."""
    chunks, chance = list(chunks_of(body)), random.Random(14)
    # The first 4 bytes of an fdAT chunk are its number.
    starts = {b"IDAT": 0, b"fdAT": 4}
    places = [
        (number, place)
        for number, (kind, data) in enumerate(chunks)
        if kind in starts
        for place in range(starts[kind], len(data))
    ]
    for number, place in chance.sample(places, FLIPS):
        kind, data = chunks[number]
        changed = flipped(data, place, chance.randrange(8))
        yield png_of(*chunks[:number], (kind, changed), *chunks[number + 1 :])


def flips_unchecked(body: bytes) -> Iterator[bytes]:
    """Yield copies of a PNG with one bit of the pixel data changed, so that the checksum of its chunk is wrong."""
    chance, places, place = random.Random(15), list[int](), len(SIGNATURE)
    for kind, data in chunks_of(body):
        places += range(place + 8, place + 8 + len(data)) if kind in (b"IDAT", b"fdAT") else []
        place += len(data) + 12
    for _ in range(FLIPS):
        yield flipped(body, chance.choice(places), chance.randrange(8))


def flips_at_the_end(body: bytes) -> Iterator[bytes]:
    """Yield copies of a file with one bit changed in its last two thirds, where its pixel data lie."""
    chance = random.Random(14)
    for _ in range(FLIPS):
        yield flipped(body, chance.randrange(len(body) // 3, len(body)), chance.randrange(8))


def cuts(body: bytes) -> Iterator[bytes]:
    """Yield copies of a file that end early."""
    for tenths in range(3, 10):
        yield body[: len(body) * tenths // 10]


WAYS: list[tuple[str, Callable[[bytes], Iterator[bytes]], dict[str, bytes]]] = [
    ("bits of a PNG", flips_in_png, PNGS),
    ("bits of a PNG, unchecked", flips_unchecked, PNGS),
    ("bits", flips_at_the_end, OTHERS),
    ("length of a PNG", cuts, PNGS),
    ("length", cuts, OTHERS),
]


CASES = [
    pytest.param(body, damage, id=f"{name}: {kind}") for name, damage, files in WAYS for kind, body in files.items()
]
"""Each kind of damage to each file."""


def all_frames(**changes: Any) -> Job:
    """Order one rendition that uses every frame of the source."""
    return job(rendition("out", "webp", ("resize", {"width": 20})), **changes)


@pytest.mark.parametrize(("body", "damage"), CASES)
def test_pixels_that_pillow_refuses_are_never_done(
    run: Run, body: bytes, damage: Callable[..., Iterator[bytes]]
) -> None:
    assert not rejected(body)
    assert run(body, all_frames())["failure"] is None
    for changed in damage(body):
        report = run(changed, all_frames())
        if rejected(changed):
            assert report["failure"] is not None
            # A changed header may look like that of a variant that Pillow does not read.
            assert report["failure"]["kind"] in ("damaged_image", "unsupported_variant")
            assert report["renditions"] == []


@pytest.mark.parametrize("name", PNGS)
def test_a_flipped_bit_in_a_png_is_found(run: Run, name: str) -> None:
    for changed in (*flips_unchecked(PNGS[name]), *cuts(PNGS[name])):
        report = run(changed, all_frames())
        assert report["failure"] is not None
        assert report["failure"]["kind"] == "damaged_image"
    failures = [run(changed, all_frames())["failure"] for changed in flips_in_png(PNGS[name])]
    assert [each["kind"] for each in failures if each].count("damaged_image") >= FLIPS * 0.8


@pytest.mark.parametrize("name", [name for name in PNGS if not name.startswith("animation") and "after" not in name])
def test_a_wrong_checksum_is_marked_when_patched(run: Run, name: str, tmp_path: Path) -> None:
    *head, (kind, data), end = chunks_of(PNGS[name])
    last = chunk_of(kind, data, checksum=1)
    (made,) = run(png_of(*head) + last + chunk_of(*end), job(on_truncated="patch"))["renditions"]
    assert made["extra"] == {"patched": "true"}
    assert run(png_of(*head) + last + chunk_of(*end))["failure"] is not None


@pytest.mark.parametrize(("body", "damage"), CASES)
def test_damage_that_the_recipe_allows_is_marked(run: Run, body: bytes, damage: Callable[..., Iterator[bytes]]) -> None:
    for changed in damage(body):
        report = run(changed, all_frames(on_truncated="patch"))
        if rejected(changed) and report["failure"] is None:
            assert report["renditions"][0]["extra"] == {"patched": "true"}
        assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_a_damaged_png_is_patched_where_the_recipe_says_so(run: Run, tmp_path: Path) -> None:
    changed = next(flips_in_png(PNGS["EXIF after the pixels"]))
    (made,) = run(changed, job(on_truncated="patch"))["renditions"]
    assert made["extra"] == {"patched": "true"}
    # The EXIF block behind the damage says that the image lies on its side.
    assert opened(tmp_path / "out").size == SIZE[::-1]


def test_a_patched_rendition_is_never_the_damaged_file(run: Run, tmp_path: Path) -> None:
    changed = next(flips_in_png(PNGS["palette"]))
    order = job(rendition("out", "png"), on_truncated="patch")
    order["renditions"][0]["output"] = {"if_larger": "source"}
    assert run(changed, order)["renditions"][0]["extra"] == {"patched": "true"}
    assert not rejected((tmp_path / "out").read_bytes())


def test_a_patched_rendition_keeps_the_copyright(run: Run, tmp_path: Path) -> None:
    changed = next(flips_in_png(PNGS["EXIF before the pixels"]))
    order = job(rendition("out", "jpeg"), on_truncated="patch")
    order["renditions"][0]["output"] = {"keep": ["copyright"]}
    assert run(changed, order)["renditions"][0]["extra"] == {"patched": "true"}
    assert opened(tmp_path / "out").getexif()[0x8298] == "(c) Harbour"


def test_patching_an_animation_of_one_frame_takes_that_frame(run: Run, tmp_path: Path) -> None:
    """The default image of an APNG is no frame of it."""
    body = encoded(
        Image.new("RGB", SIZE, "red"), save_all=True, append_images=[PHOTO], default_image=True, compress_level=0
    )
    *head, (kind, data), end = chunks_of(body)
    changed = png_of(*head, (kind, flipped(data, len(data) - 1, 0)), end)
    assert rejected(changed)
    (made,) = run(changed, job(on_truncated="patch"))["renditions"]
    assert made["extra"] == {"patched": "true"}
    upper = (0, 0, SIZE[0], 20)
    assert opened(tmp_path / "out").convert("RGB").crop(upper).tobytes() == PHOTO.crop(upper).tobytes()


@pytest.mark.parametrize("name", ["RGB", "EXIF before the pixels", "EXIF after the pixels", "animation"])
def test_reading_exif_decodes_no_pixels_of_a_png(name: str) -> None:
    with Image.open(io.BytesIO(PNGS[name])) as image:
        exif.exif_of(image)
        assert image.tile


def test_exif_behind_the_pixels_turns_the_image(run: Run, tmp_path: Path) -> None:
    report = run(PNGS["EXIF after the pixels"], job())
    assert report["source"] is not None
    assert (report["source"]["width"], report["source"]["height"]) == SIZE[::-1]
    assert opened(tmp_path / "out").size == SIZE[::-1]


def test_a_damaged_png_is_reported_with_its_size(run: Run) -> None:
    report = run(next(flips_in_png(PNGS["RGB"])), job())
    assert report["failure"] is not None
    assert report["source"] is not None
    assert (report["source"]["width"], report["source"]["height"]) == SIZE


@pytest.mark.parametrize("end", [b"", b"\0", b"\0\0\0\1eXIf", b"\xff\xff\xff\xffIDAT", b"\0\0\0\0IEND"])
def test_a_search_for_exif_ends_with_the_chunks(end: bytes) -> None:
    stream = io.BytesIO(SIGNATURE + end)
    stream.seek(3)
    assert exif.late_exif(stream) in (b"", b"Exif\0\0")
    assert stream.tell() == 3


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_a_rejected_file_has_a_plain_message(run: Run, kind: str) -> None:
    body = encoded(PHOTO, kind)
    failure = run(body[: len(body) * 2 // 3])["failure"]
    assert failure is not None
    assert failure["message"] == (
        f"the source is damaged ({kind}: the decoder rejects the file): upload it again, or repair it"
    )
