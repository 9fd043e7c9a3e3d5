"""Encoder settings: quantization tables of JPEG, tuning of AVIF, and qualities that look the same in each format."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from PIL import Image, _avif

from pipeline.engine.encode import formats
from pipeline.engine.encode.equal_quality import equal_quality
from pipeline.engine.encode.jpeg_tables import quantization_tables
from pipeline.engine.timing import Timing

from .conftest import Run, encoded, gradient, job, noise, rendition

PHOTO = Image.blend(gradient(160, 120), noise((160, 120), 70).convert("RGB"), 0.2)


@pytest.fixture
def fresh_check() -> Iterator[None]:
    """Forget whether the library has the tuning, before and after the test."""
    formats._has_image_tuning.cache_clear()
    yield
    formats._has_image_tuning.cache_clear()


@pytest.mark.parametrize("quality", [1, 30, 50, 80, 100])
@pytest.mark.parametrize("image", [PHOTO, PHOTO.convert("L")], ids=["color", "gray"])
def test_a_jpeg_holds_the_tables_of_its_quality(quality: int, image: Image.Image) -> None:
    data = formats.Jpeg(quality=quality).encode([image])
    with Image.open(io.BytesIO(data)) as opened:
        tables = opened.quantization  # type: ignore[attr-defined]
    assert set(tables) == ({0, 1} if image.mode == "RGB" else {0})
    for place, table in tables.items():
        assert list(table) == quantization_tables(quality)[place]
        assert 1 <= min(table) <= max(table) <= 255


def test_a_higher_quality_never_has_a_coarser_table() -> None:
    for low, high in pairwise(range(1, 101)):
        for coarse, fine in zip(quantization_tables(low), quantization_tables(high), strict=True):
            assert all(a >= b for a, b in zip(coarse, fine, strict=True))
    assert [set(table) for table in quantization_tables(100)] == [{1}, {1}]


@pytest.mark.parametrize("name", ["webp", "avif"])
def test_equal_qualities_grow_with_that_of_jpeg(name: str) -> None:
    equal = [equal_quality(name, quality) for quality in range(1, 101)]
    assert equal == sorted(equal)
    assert 1 <= equal[0] < equal[-1] <= 100
    assert all(after - before <= 4 for before, after in pairwise(equal))


@pytest.mark.parametrize("quality", [1, 37, 50, 80, 100])
def test_auto_and_keep_use_equal_qualities(quality: int) -> None:
    auto = {kind.name: kind for kind in formats.Auto(quality=quality).candidates()}
    keep = {name: formats.Keep(quality=quality).format_for(name) for name in ("JPEG", "WEBP", "AVIF", "HEIF")}
    for name in ("webp", "avif"):
        assert getattr(auto[name], "quality") == equal_quality(name, quality)  # noqa: B009
        assert keep[name.upper()] == auto[name]
    assert keep["JPEG"] == keep["HEIF"] == auto["jpeg"] == formats.Jpeg(quality=quality)


def test_avif_is_tuned_for_image_quality_by_default() -> None:
    arguments = formats.Avif(speed=9).arguments()
    libaom = re.search(r"aom \[enc[^:]*:v?(\d+)\.(\d+)", _avif.codec_versions())
    if libaom is None or tuple(map(int, libaom.groups())) < (3, 12):
        pytest.skip("libaom of this Pillow is older than 3.12 and lacks the tuning; the next test covers such builds")
    assert arguments["advanced"] == {"color:tune": "iq"}
    assert formats.Avif().arguments()["advanced"] == {
        "color:tune": "iq",
        "color:enable-rect-partitions": "0",
        "color:min-partition-size": "8",
    }
    untuned = io.BytesIO()
    PHOTO.save(untuned, "AVIF", **{**arguments, "advanced": {"color:tune": "ssim"}})
    assert formats.Avif(speed=9).encode([PHOTO]) != untuned.getvalue()


def test_avif_of_a_build_without_the_tuning_is_encoded(monkeypatch: pytest.MonkeyPatch, fresh_check: None) -> None:
    original = Image.Image.save

    def save(self: Image.Image, *rest: Any, **options: Any) -> None:
        if options.get("advanced"):
            raise ValueError("Failed to encode image: Invalid codec-specific option")
        original(self, *rest, **options)

    monkeypatch.setattr(Image.Image, "save", save)
    assert (formats.Avif().arguments()["advanced"], formats.Avif().arguments()["speed"]) == (None, 6)
    with Image.open(io.BytesIO(formats.Avif(speed=10).encode([PHOTO]))) as opened:
        assert opened.size == PHOTO.size


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("size", [(1, 1), (17, 5), (160, 120)])
def test_avif_encodes_every_mode(mode: str, subsampling: formats.Subsampling, size: tuple[int, int]) -> None:
    image = PHOTO.resize(size).convert(mode)
    if mode == "RGBA":
        image.putalpha(100)
    data = formats.Avif(speed=9, subsampling=subsampling).encode([image])
    with Image.open(io.BytesIO(data)) as opened:
        assert (opened.size, opened.mode) == (size, "RGBA" if mode == "RGBA" else "RGB")


@pytest.mark.parametrize(
    ("image", "frames", "speed"),
    [
        ((6000, 4000), 1, 5),
        ((6000, 4001), 1, 8),
        ((16, 16), 2, 8),
    ],
    ids=str,
)
def test_avif_is_faster_for_large_images(
    monkeypatch: pytest.MonkeyPatch, image: tuple[int, int], frames: int, speed: int
) -> None:
    used: list[int] = []
    monkeypatch.setattr(formats, "_has_image_tuning", lambda: True)
    monkeypatch.setattr(Image.Image, "save", lambda self, *rest, **options: used.append(options["speed"]))
    timing = Timing([100] * frames, 0) if frames > 1 else None
    pixels = [Image.new("L", image)] * frames
    for kind in (formats.Avif(), formats.Avif(speed=3)):
        kind.encode(pixels, timing)
    assert used == [speed, 3]


def test_an_animated_avif_keeps_its_frames() -> None:
    frames = [PHOTO, PHOTO.rotate(90), PHOTO.rotate(180)]
    data = formats.Avif(speed=9).encode(frames, Timing([100, 100, 100], 0))
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.n_frames == 3  # type: ignore[attr-defined]


def test_two_encodes_give_the_same_bytes(run: Run) -> None:
    source = encoded(PHOTO)
    for name in ("jpeg", "avif", "auto", "keep"):
        first, second = (run(source, job(rendition("out", name)))["renditions"][0]["sha256"] for _ in range(2))
        assert first == second
