"""HDR sources: PQ and HLG become sRGB by the EETF of BT.2390, or are refused."""

from __future__ import annotations

import io
import random
import struct
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image, features

from benchmarks.quality import color_arithmetic as arithmetic
from benchmarks.quality import color_files as files
from pipeline.engine.color.samples import BAND_PIXELS, Samples
from pipeline.engine.color.spaces import CodePoints
from pipeline.engine.color.tone_map import eetf, light_to_pq, pq_to_light, tone_map
from pipeline.engine.decode.source import open_source
from pipeline.engine.transforms.to_srgb import ToSrgb, srgb_profile

from .conftest import LIMITS, Made, Run, encoded, gradient, job, opened, rendition

PQ, HLG = files.cicp(9, 16), files.cicp(9, 18)
CODES = {"PQ": 16, "HLG": 18}
FORMATS = ["PNG", "AVIF", "HEIF"]
needs_avif = pytest.mark.skipif(not features.check("avif"), reason="Pillow has no AVIF")


def pixels(made: Made, body: bytes) -> list[tuple[int, int, int]]:
    """Return the pixels of the first row of the rendition."""
    image = made(body, job(rendition(), formats=FORMATS)).convert("RGB")
    return [image.getpixel((x, 0)) for x in range(image.width)]  # type: ignore[misc]


def level(luminance: float) -> int:
    """Return the PQ sample of 16 bits for a luminance in cd/m²."""
    return round(65535 * arithmetic.pq_encode(luminance))


def gray(*luminances: float) -> bytes:
    """Build a PNG with gray pixels of these luminances in cd/m²."""
    return files.png((len(luminances), 1), [(level(each),) * 3 for each in luminances], PQ, depth=16)


def error(seen: tuple[int, int, int], wanted: arithmetic.Triple) -> float:
    """Return the difference, CIEDE2000."""
    red, green, blue = (value / 255 for value in seen)
    return arithmetic.delta_e_2000(arithmetic.to_lab((red, green, blue)), arithmetic.to_lab(wanted))


def test_known_luminances_of_pq_become_known_levels(made: Made) -> None:
    """Below the knee (76 cd/m² for a peak of 1,000) luminance stays; the peak becomes white, and nothing exceeds it."""
    seen = pixels(made, gray(0, 20.3, 50, 203, 1000, 4000, 10_000))
    assert [pixel[0] for pixel in seen] == [
        0,
        round(255 * arithmetic.srgb_encode(0.1)),
        round(255 * arithmetic.srgb_encode(50 / 203)),
        round(255 * arithmetic.srgb_encode(arithmetic.bt2390(203, 1000) / 203)),
        255,
        255,
        255,
    ]
    assert all(max(pixel) == min(pixel) for pixel in seen)


@pytest.mark.parametrize("transfer", ["PQ", "HLG"])
@pytest.mark.parametrize("depth", [8, 16])
def test_colors_agree_with_arithmetic(made: Made, transfer: str, depth: int) -> None:
    dice, top = random.Random(depth), 255 if depth == 8 else 65_535
    samples = [(dice.randint(0, top), dice.randint(0, top), dice.randint(0, top)) for _ in range(300)]
    seen = pixels(made, files.png((300, 1), samples, files.cicp(9, CODES[transfer]), depth=depth))
    wanted = [arithmetic.from_hdr((r / top, g / top, b / top), transfer) for r, g, b in samples]
    errors = [error(one, other) for one, other in zip(seen, wanted, strict=True)]
    assert sum(errors) / 300 < 0.3
    assert max(errors) < 1.5


@pytest.mark.parametrize("transfer", ["PQ", "HLG"])
def test_a_ramp_of_16_bits_is_monotonic_and_has_no_steps(made: Made, transfer: str) -> None:
    ramp = [(value, value, value) for value in range(0, 65_536, 16)]
    seen = [pixel[0] for pixel in pixels(made, files.png((4096, 1), ramp, files.cicp(9, CODES[transfer]), depth=16))]
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0, 255)
    assert max(after - before for before, after in pairwise(seen)) == 1


@pytest.mark.parametrize("transfer", ["PQ", "HLG"])
def test_a_ramp_of_one_color_is_monotonic(made: Made, transfer: str) -> None:
    ramp = [(value, value // 3, value // 2) for value in range(0, 65_536, 64)]
    seen = pixels(made, files.png((1024, 1), ramp, files.cicp(9, CODES[transfer]), depth=16))
    assert all(before[i] <= after[i] + 1 for before, after in pairwise(seen) for i in range(3))


@pytest.mark.parametrize(
    ("chunks", "peak"),
    [
        ([], 1000),
        ([files.clli(400)], 400),
        ([files.clli(4000)], 4000),
        ([files.mdcv(600)], 600),
        ([files.mdcv(600), files.clli(2000)], 2000),
        ([files.clli(0), files.mdcv(600)], 600),
        ([files.clli(0), files.mdcv(0)], 1000),
        ([files.clli(429_496)], 10_000),
        ([files.chunk(b"cLLI", b"\0\1"), files.chunk(b"mDCV", bytes(5))], 1000),
        ([files.clli(100)], 100),
        ([files.clli(0.0001)], 0.0001),
    ],
)
def test_the_peak_is_that_of_the_content_or_the_display(made: Made, chunks: list[bytes], peak: float) -> None:
    samples = [(level(each),) * 3 for each in (50, 150, 300, 900)]
    seen = pixels(made, files.png((4, 1), samples, PQ, *chunks, depth=16))
    for pixel, sample in zip(seen, samples, strict=True):
        red, green, blue = (value / 65_535 for value in sample)
        assert error(pixel, arithmetic.from_hdr((red, green, blue), "PQ", peak)) < 0.7


def test_the_peak_of_hlg_is_at_most_that_of_its_display(made: Made) -> None:
    """HLG is rendered for 1,000 cd/m², so content cannot be brighter."""
    samples = [(60_000, 50_000, 40_000)]
    plain = pixels(made, files.png((1, 1), samples, HLG, depth=16))
    assert pixels(made, files.png((1, 1), samples, HLG, files.clli(4000), depth=16)) == plain
    assert pixels(made, files.png((1, 1), samples, HLG, files.clli(500), depth=16)) != plain


def test_the_reference_white_of_hlg_is_bright(made: Made) -> None:
    """75 % of HLG is the reference white: 203 cd/m² on a display of 1,000 cd/m² (BT.2408)."""
    (seen,) = pixels(made, files.png((1, 1), [(49_151, 49_151, 49_151)], HLG, depth=16))
    assert abs(seen[0] - round(255 * arithmetic.srgb_encode(arithmetic.bt2390(203, 1000) / 203))) <= 1


def test_primaries_of_pq_may_be_others(made: Made) -> None:
    sample = (level(100), level(50), level(20))
    (seen,) = pixels(made, files.png((1, 1), [sample], files.cicp(12, 16), depth=16))
    red, green, blue = (value / 65_535 for value in sample)
    assert error(seen, arithmetic.from_hdr((red, green, blue), "PQ", primaries="P3")) < 0.7


def test_pq_with_unspecified_primaries_counts_as_bt_2020(made: Made) -> None:
    sample = [(level(100), level(50), level(20))]
    known = pixels(made, files.png((1, 1), sample, PQ, depth=16))
    assert pixels(made, files.png((1, 1), sample, files.cicp(2, 16), depth=16)) == known


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "I;16", "1"])
def test_every_mode_is_tone_mapped(made: Made, mode: str) -> None:
    """The gray sample 128 is about 93 cd/m² in PQ."""
    image = Image.new("I;16", (4, 4), 32_896) if mode == "I;16" else Image.new("RGBA", (4, 4), (128, 128, 128, 200))
    if mode != "I;16":
        image = image.convert("RGB").quantize(4) if mode == "P" else image.convert("RGB" if mode == "1" else mode)
    body = encoded(image.convert("1") if mode == "1" else image)
    shown = made(body[:33] + PQ + body[33:])
    seen = shown.convert("RGBA").getpixel((0, 0))
    assert isinstance(seen, tuple)
    wanted = round(255 * arithmetic.from_hdr((128 / 255,) * 3, "PQ")[0])
    assert mode == "1" or all(abs(value - wanted) <= 1 for value in seen[:3])
    assert seen[3] == (200 if "A" in mode else 255)


def test_hdr_of_16_bits_keeps_alpha(made: Made) -> None:
    import zlib

    row = b"\0" + struct.pack(">8H", *(level(100),) * 3, 0, *(level(203),) * 3, 51_400)
    header = files.chunk(b"IHDR", struct.pack(">2I5B", 2, 1, 16, 6, 0, 0, 0))
    body = b"\x89PNG\r\n\x1a\n" + header + PQ + files.chunk(b"IDAT", zlib.compress(row)) + files.chunk(b"IEND", b"")
    image = made(body)
    assert [image.getpixel((x, 0))[3] for x in (0, 1)] == [0, 200]  # type: ignore[index]
    wanted = round(255 * arithmetic.srgb_encode(arithmetic.bt2390(203, 1000) / 203))
    assert image.getpixel((1, 0))[0] == wanted  # type: ignore[index]


def test_bands_of_rows_fit_together() -> None:
    space = CodePoints(9, 16).space()
    assert space is not None
    image = gradient(1024, 2 * BAND_PIXELS // 1024 + 3)
    whole = tone_map(Samples(image), space)
    row = 2 * BAND_PIXELS // 1024 + 1
    part = tone_map(Samples(image.crop((0, row, 1024, row + 1))), space)
    assert whole.size == image.size
    assert whole.crop((0, row, 1024, row + 1)).tobytes() == part.tobytes()


def test_pq_is_the_inverse_of_pq() -> None:
    assert all(pq_to_light(light_to_pq(light)) == pytest.approx(light) for light in (0.01, 1, 203, 10_000))
    assert [pq_to_light(0), pq_to_light(1)] == pytest.approx([0, 10_000])


@pytest.mark.parametrize("peak", [203, 250, 1000, 4000, 10_000])
def test_the_eetf_agrees_with_arithmetic_and_grows(peak: float) -> None:
    lights = [peak * i / 500 for i in range(501)]
    mapped = [eetf(light, peak) for light in lights]
    assert mapped == sorted(mapped)
    assert mapped == pytest.approx([arithmetic.bt2390(light, peak) for light in lights], rel=1e-6)
    assert mapped[-1] == pytest.approx(203)


@needs_avif
@pytest.mark.parametrize("transfer", ["PQ", "HLG"])
def test_an_avif_is_tone_mapped(made: Made, transfer: str) -> None:
    """Pillow decodes 8 bits of it."""
    image = files.image_of((16, 16), [(140, 120, 90)] * 256)
    body = files.avif(image, 9, CODES[transfer])
    with Image.open(io.BytesIO(body)) as stored:
        sample = stored.convert("RGB").getpixel((8, 8))
    assert isinstance(sample, tuple)
    red, green, blue = (value / 255 for value in sample)
    assert error(pixels(made, body)[8], arithmetic.from_hdr((red, green, blue), transfer)) < 1


@needs_avif
@pytest.mark.parametrize(
    ("box", "peak"),
    [
        (files.box(b"clli", struct.pack(">HH", 400, 100)), 400),
        (files.box(b"mdcv", struct.pack(">8H2I", *[0] * 8, 4_000_000, 1)), 400),
        (files.box(b"mdcv", b"\1\2"), 1000),
    ],
)
def test_boxes_hold_the_peak(made: Made, box: bytes, peak: float) -> None:
    body = files.avif(files.image_of((16, 16), [(150, 150, 150)] * 256), 9, 16, box)
    assert error(pixels(made, body)[8], arithmetic.from_hdr((150 / 255,) * 3, "PQ", peak)) < 1


@pytest.mark.parametrize("transfer", ["PQ", "HLG"])
def test_a_heif_of_10_bits_is_tone_mapped(made: Made, transfer: str) -> None:
    """A ramp of 10 bits has more levels than one of 8 bits could leave."""
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    ramp = [((300 + x) * 64,) * 3 for y in range(64) for x in range(128)]
    body = files.heif16((128, 64), ramp, 9, CODES[transfer])
    found = heif.open_heif(io.BytesIO(body), convert_hdr_to_8bit=False)[0]
    stored = memoryview(bytes(found.data)).cast("H")
    seen = pixels(made, body)
    for x in (0, 40, 100, 127):
        sample = stored[3 * x] / (1023 << 6)
        assert error(seen[x], arithmetic.from_hdr((sample,) * 3, transfer)) < 0.7


@pytest.mark.parametrize("body", [gray(100), files.png((1, 1), [(9, 9, 9)], HLG)], ids=["PQ", "HLG"])
def test_hdr_can_be_refused(run: Run, body: bytes) -> None:
    failure = run(body, job(hdr="refuse"))["failure"]
    assert failure is not None
    assert failure["kind"] == "unsupported_variant"
    assert "hdr: tone_map" in failure["message"]


def test_other_sources_are_not_refused(made: Made) -> None:
    image = gradient(8, 8)
    body = encoded(image)
    for chunks in (b"", files.cicp(12, 13), files.gama(100_000)):
        assert made(body[:33] + chunks + body[33:], job(hdr="refuse")).size == (8, 8)


@needs_avif
def test_a_profile_decides_whether_an_avif_is_hdr(run: Run, made: Made) -> None:
    """A profile counts before code points, unless it is damaged."""
    image = files.image_of((16, 16), [(140, 120, 90)] * 256)
    profile = files.profile("P3", arithmetic.srgb_decode)
    assert made(files.avif(image, 9, 16, icc_profile=profile), job(hdr="refuse")).size == (16, 16)
    failure = run(files.avif(image, 9, 16, icc_profile=b"damaged"), job(hdr="refuse"))["failure"]
    assert failure is not None
    assert failure["kind"] == "unsupported_variant"


def test_a_tone_mapped_rendition_never_is_the_source(run: Run, tmp_path: Path) -> None:
    document = job(rendition("out", "png", compression=0))
    document["renditions"][0]["output"] = {"if_larger": "source", "keep": ["icc"]}
    samples = [(128, 128, 128)] * 4096
    report = run(files.png((64, 64), samples, PQ), document)
    assert report["failure"] is None
    assert b"cICP" not in (tmp_path / "out").read_bytes()
    assert opened(tmp_path / "out").info["icc_profile"] == srgb_profile()


def test_frames_of_an_animation_are_tone_mapped(run: Run, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), (level, level, level)) for level in (60, 128, 140)]
    body = encoded(frames[0], save_all=True, append_images=frames[1:], duration=100)
    assert run(body[:33] + PQ + body[33:])["failure"] is None
    with Image.open(tmp_path / "out") as image:
        for number, sample in enumerate((60, 128, 140)):
            image.seek(number)
            seen = image.convert("RGB").getpixel((4, 4))
            assert error(seen, arithmetic.from_hdr((sample / 255,) * 3, "PQ")) < 0.7  # type: ignore[arg-type]


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9])
def test_a_truncated_hdr_source_is_a_clear_failure_or_patched(run: Run, cut: float) -> None:
    dice = random.Random(1)
    samples = [(dice.randint(0, 65_535),) * 3 for _ in range(64 * 64)]
    body = files.png((64, 64), samples, PQ, depth=16)
    short = body[: int(len(body) * cut)]
    failure = run(short)["failure"]
    assert failure is not None
    assert failure["kind"] == "damaged_image"
    report = run(short, job(on_truncated="patch"))
    assert report["failure"] is None
    assert report["renditions"][0]["extra"]["patched"] == "true"


@pytest.mark.parametrize(
    ("chunk", "dropped"), [(PQ, {"hdr"}), (HLG, {"hdr"}), (files.cicp(12, 13), set()), (b"", set())]
)
def test_tone_mapping_is_reported_as_dropped(tmp_path: Path, chunk: bytes, dropped: set[str]) -> None:
    (tmp_path / "in").write_bytes(files.png((2, 1), [(90, 90, 90)] * 2, chunk))
    with open_source(tmp_path / "in", ["PNG"], LIMITS) as source:
        list(source.decode_frames(1.0, ToSrgb(), 1, patch=False))
        assert source.dropped == dropped
