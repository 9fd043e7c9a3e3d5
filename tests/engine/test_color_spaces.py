"""Color spaces that files declare by numbers: chunks of PNG, boxes of AVIF and HEIF, and their order of precedence."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image, features

from benchmarks.quality import color_arithmetic as arithmetic
from benchmarks.quality import color_files as files
from pipeline.engine.color.matrix_profile import matrix_profile
from pipeline.engine.color.spaces import CodePoints

from .conftest import Made, Run, encoded, gradient, job, opened, rendition, steps
from .measures import worst
from .profiles import delta_e, display_p3, linear_gray

SAMPLES = [(210, 100, 60), (40, 160, 90), (128, 128, 128), (20, 30, 70)]
SIZE = (4, 1)
P3 = files.cicp(12, 13)
LINEAR = files.gama(100_000)


def shown(made: Made, body: bytes) -> list[tuple[int, ...]]:
    """Return the pixels of the rendition."""
    image = made(body, job(rendition(), formats=["PNG", "AVIF", "HEIF", "JPEG", "WEBP"])).convert("RGB")
    return [image.getpixel((x, 0)) for x in range(image.width)]  # type: ignore[misc]


def expected(
    primaries: str, decode: Callable[[float], float], samples: files.Samples = SAMPLES
) -> list[tuple[int, ...]]:
    """Convert samples of 8 bits by arithmetic."""
    found = []
    for sample in samples:
        red, green, blue = (decode(value / 255) for value in sample)
        found.append(tuple(round(255 * value) for value in arithmetic.from_light((red, green, blue), primaries)))
    return found


def close(one: Sequence[tuple[int, ...]], other: Sequence[tuple[int, ...]], levels: int = 1) -> bool:
    """Return True when all samples differ by at most `levels`."""
    return all(abs(a - b) <= levels for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))


SRGB = arithmetic.srgb_decode
SPACES = {
    "sRGB by cICP": ([files.cicp(1, 13)], "sRGB", SRGB),
    "P3 by cICP": ([P3], "P3", SRGB),
    "BT.2020 by cICP": ([files.cicp(9, 14)], "BT.2020", arithmetic.bt709_decode),
    "BT.2020 with the curve of sRGB": ([files.cicp(9, 13)], "BT.2020", SRGB),
    "BT.709 by cICP": ([files.cicp(1, 1)], "sRGB", arithmetic.bt709_decode),
    "linear light by cICP": ([files.cicp(1, 8)], "sRGB", arithmetic.power_decode(1)),
    "gamma 2.2 by cICP": ([files.cicp(12, 4)], "P3", arithmetic.power_decode(2.2)),
    "gAMA 45455 is a pure power": ([files.gama(45_455)], "sRGB", arithmetic.power_decode(2.2)),
    "gAMA 100000 without cHRM": ([LINEAR], "sRGB", arithmetic.power_decode(1)),
    "gAMA and cHRM of Adobe RGB": (
        [files.gama(45_455), files.chrm("Adobe RGB")],
        "Adobe RGB",
        arithmetic.power_decode(2.2),
    ),
    "cHRM alone": ([files.chrm("P3")], "P3", SRGB),
    "sRGB": ([files.chunk(b"sRGB", b"\0")], "sRGB", SRGB),
    "nothing": ([], "sRGB", SRGB),
}


@pytest.mark.parametrize("name", SPACES)
def test_a_png_is_converted_by_its_chunks(made: Made, name: str) -> None:
    chunks, primaries, decode = SPACES[name]
    assert close(shown(made, files.png(SIZE, SAMPLES, *chunks)), expected(primaries, decode))


SRGB_CHUNK = files.chunk(b"sRGB", b"\0")
PRECEDENCE: dict[str, tuple[list[bytes | str], str, Callable[[float], float]]] = {
    "cICP before iCCP": ([P3, "profile"], "P3", SRGB),
    "cICP before sRGB": ([SRGB_CHUNK, P3], "P3", SRGB),
    "cICP of sRGB before gAMA": ([files.cicp(1, 13), LINEAR], "sRGB", SRGB),
    "sRGB before gAMA and cHRM": ([LINEAR, files.chrm("P3"), SRGB_CHUNK], "sRGB", SRGB),
    "unspecified cICP falls through": ([files.cicp(2, 2), LINEAR], "sRGB", arithmetic.power_decode(1)),
    "cICP with an unspecified curve falls through": ([files.cicp(9, 2), LINEAR], "sRGB", arithmetic.power_decode(1)),
    "unknown cICP falls through": ([files.cicp(77, 13), LINEAR], "sRGB", arithmetic.power_decode(1)),
    "logarithmic cICP falls through": ([files.cicp(1, 9), LINEAR], "sRGB", arithmetic.power_decode(1)),
    "cICP with a matrix falls through": ([files.cicp(12, 13, 1), SRGB_CHUNK], "sRGB", SRGB),
    "cICP with an unknown range falls through": ([files.cicp(12, 13, 0, 9), SRGB_CHUNK], "sRGB", SRGB),
    "short cICP falls through": ([files.chunk(b"cICP", b"\x0c\x0d"), LINEAR], "sRGB", arithmetic.power_decode(1)),
    "long cICP falls through": ([files.chunk(b"cICP", b"\x0c\x0d\0\1\0")], "sRGB", SRGB),
    "the first of two cICP counts": ([P3, files.cicp(9, 14)], "P3", SRGB),
    "unspecified PQ next to gAMA": ([files.cicp(2, 16), LINEAR], "sRGB", arithmetic.power_decode(1)),
    "a damaged profile falls through": (["junk", LINEAR], "sRGB", arithmetic.power_decode(1)),
    "a profile without its tags falls through": (["header", LINEAR], "sRGB", arithmetic.power_decode(1)),
    "a gray profile of colors falls through": (["gray", files.chrm("P3")], "P3", SRGB),
    "a damaged profile before sRGB": (["junk", SRGB_CHUNK, LINEAR], "sRGB", SRGB),
    "an intent that does not exist": ([files.chunk(b"sRGB", b"\7"), LINEAR], "sRGB", arithmetic.power_decode(1)),
    "gAMA of 0 is ignored": ([files.gama(0), files.chrm("P3")], "P3", SRGB),
    "gAMA out of range is ignored": ([files.gama(2**32 - 1)], "sRGB", SRGB),
    "cHRM of zeros is ignored": ([LINEAR, files.chunk(b"cHRM", bytes(32))], "sRGB", arithmetic.power_decode(1)),
    "cHRM of a line is ignored": (
        [files.chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 40000, 33000, 15000, 33000))],
        "sRGB",
        SRGB,
    ),
    "huge cHRM is ignored": ([files.chunk(b"cHRM", b"\xff" * 32)], "sRGB", SRGB),
    "cHRM with white outside is ignored": (
        [files.chunk(b"cHRM", struct.pack(">8I", 90000, 5000, 64000, 33000, 30000, 60000, 15000, 6000))],
        "sRGB",
        SRGB,
    ),
}


def profile_chunk(kind: str) -> bytes:
    """Build an iCCP chunk."""
    body = {
        "profile": files.profile("Adobe RGB", arithmetic.power_decode(1.8)),
        "junk": b"junk",
        "header": files.profile("P3", SRGB)[:128] + bytes(64),
        "gray": linear_gray(),
    }[kind]
    return files.chunk(b"iCCP", b"name\0\0" + zlib.compress(body))


@pytest.mark.parametrize("name", PRECEDENCE)
def test_the_first_declaration_that_makes_sense_counts(made: Made, name: str) -> None:
    chunks, primaries, decode = PRECEDENCE[name]
    built = [each if isinstance(each, bytes) else profile_chunk(each) for each in chunks]
    assert close(shown(made, files.png(SIZE, SAMPLES, *built)), expected(primaries, decode))


def test_damaged_compression_of_a_profile_falls_through(made: Made) -> None:
    body = files.png(SIZE, SAMPLES, files.chunk(b"iCCP", b"name\0\0not zlib"), LINEAR)
    assert close(shown(made, body), expected("sRGB", arithmetic.power_decode(1)))


UNREADABLE = {
    "gAMA of 1 byte": (b"gAMA", b"\0"),
    "gAMA without data": (b"gAMA", b""),
    "gAMA of 9 bytes": (b"gAMA", bytes(9)),
    "sRGB without data": (b"sRGB", b""),
    "sRGB of 5 bytes": (b"sRGB", bytes(5)),
    "cHRM of 16 bytes": (b"cHRM", bytes(16)),
    "pHYs of 1 byte": (b"pHYs", b"\0"),
    "iCCP without data": (b"iCCP", b""),
    "iCCP of a name alone": (b"iCCP", b"name"),
    "iCCP without a method": (b"iCCP", b"name\0"),
    "iCCP of another method": (b"iCCP", b"name\0\7xx"),
    "iCCP without a name": (b"iCCP", b"\0\0" + zlib.compress(bytes(200))),
    "iCCP of a long name": (b"iCCP", bytes(b"n" * 90) + b"\0\0"),
}


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("depth", [8, 16])
def test_an_unreadable_chunk_falls_through(made: Made, name: str, depth: int) -> None:
    samples = SAMPLES if depth == 8 else [(r * 257, g * 257, b * 257) for r, g, b in SAMPLES]
    body = files.png(SIZE, samples, files.chunk(*UNREADABLE[name]), LINEAR, depth=depth)
    assert close(shown(made, body), expected("sRGB", arithmetic.power_decode(1)))


@pytest.mark.parametrize("gamma", [16, 1000, 1_000_000, 625_000_000])
def test_extreme_exponents_are_no_failure(made: Made, gamma: int) -> None:
    assert len(shown(made, files.png(SIZE, SAMPLES, files.gama(gamma)))) == 4


def test_chunks_after_the_pixels_do_not_count(made: Made) -> None:
    body = files.png(SIZE, SAMPLES)
    assert close(shown(made, body[:-12] + LINEAR + body[-12:]), SAMPLES, 0)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGBA", "I;16"])
def test_every_mode_of_a_png_is_converted(made: Made, mode: str) -> None:
    """Half of linear light is 188 in sRGB."""
    image = Image.new("I;16", SIZE, 32896) if mode == "I;16" else Image.new("RGBA", SIZE, (128, 128, 128, 200))
    body = encoded(
        image if mode == "I;16" else image.convert("RGB").quantize(4) if mode == "P" else image.convert(mode)
    )
    shown_image = made(body[:33] + LINEAR + body[33:])
    seen = shown_image.convert("RGBA").getpixel((0, 0))
    assert isinstance(seen, tuple)
    assert mode == "1" or all(abs(level - 188) <= 1 for level in seen[:3])
    assert seen[3] == (200 if "A" in mode else 255)
    assert shown_image.mode == {"L": "L", "1": "L", "I;16": "L", "P": "RGB"}.get(mode, "RGBA")


def test_narrow_range_is_expanded(made: Made) -> None:
    samples = [(16, 16, 16), (235, 235, 235), (126, 16, 235), (0, 255, 0)]
    seen = shown(made, files.png(SIZE, samples, files.cicp(1, 13, 0, 0)))
    assert close(seen, [(0, 0, 0), (255, 255, 255), (128, 0, 255), (0, 255, 0)])


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bits_of_linear_light_leave_no_steps(made: Made, channels: int) -> None:
    """The darkest 8-bit step of linear light, 1/255, is level 13 of sRGB."""
    dark = [(i, i, i) for i in range(0, 2560, 10)]
    body = files.png((256, 1), dark, LINEAR, depth=16)
    if channels == 4:
        rows = b"\0" + b"".join(struct.pack(">4H", *each, 65535) for each in dark)
        header = files.chunk(b"IHDR", struct.pack(">2I5B", 256, 1, 16, 6, 0, 0, 0))
        body = body[:8] + header + LINEAR + files.chunk(b"IDAT", zlib.compress(rows)) + files.chunk(b"IEND", b"")
    seen = [pixel[0] for pixel in shown(made, body)]
    assert seen == sorted(seen)
    assert max(b - a for a, b in pairwise(seen)) == 1
    wanted = [round(255 * arithmetic.srgb_encode(i / 65535)) for i, _, _ in dark]
    assert all(abs(a - b) <= 1 for a, b in zip(seen, wanted, strict=True))


def test_16_bits_of_gray_with_alpha_leave_no_steps(made: Made) -> None:
    rows = b"\0" + b"".join(struct.pack(">2H", i * 10, 51400) for i in range(256))
    header = files.chunk(b"IHDR", struct.pack(">2I5B", 256, 1, 16, 4, 0, 0, 0))
    body = (
        b"\x89PNG\r\n\x1a\n" + header + LINEAR + files.chunk(b"IDAT", zlib.compress(rows)) + files.chunk(b"IEND", b"")
    )
    image = made(body)
    seen = [image.getpixel((x, 0)) for x in range(256)]
    wanted = [round(255 * arithmetic.srgb_encode(i * 10 / 65535)) for i in range(256)]
    assert all(abs(one[0] - level) <= 1 for one, level in zip(seen, wanted, strict=True))  # type: ignore[index]
    assert all(one[3] == 200 for one in seen)  # type: ignore[index]


def test_a_transparent_color_of_16_bits_survives(made: Made) -> None:
    clear = files.chunk(b"tRNS", struct.pack(">3H", 257 * 10, 257 * 20, 257 * 30))
    samples = [(257 * 10, 257 * 20, 257 * 30), (1000, 2000, 3000)]
    image = made(files.png((2, 1), samples, LINEAR, clear, depth=16))
    assert [image.getpixel((x, 0))[3] for x in (0, 1)] == [0, 255]  # type: ignore[index]


WIDE = steps(("to_srgb", {"keep_profile": True}))


def test_a_built_profile_can_be_kept(run: Run, tmp_path: Path) -> None:
    """A rendition that keeps icc holds the pixels and the built profile; another one is in sRGB."""
    image = gradient(40, 30)
    body = encoded(image)
    wide, plain = rendition("wide", "png"), rendition("plain", "png")
    wide["output"] = {"keep": ["icc"]}
    report = run(body[:33] + P3 + body[33:], job(wide, plain, shared=WIDE))
    assert report["failure"] is None
    space = CodePoints(12, 13).space()
    assert space is not None
    assert opened(tmp_path / "wide").info["icc_profile"] == matrix_profile(space)
    assert worst(opened(tmp_path / "wide"), image) == 0
    again = run((tmp_path / "wide").read_bytes(), job(rendition("again", "png")))
    assert again["failure"] is None
    assert worst(opened(tmp_path / "again"), opened(tmp_path / "plain")) <= 1


def test_a_damaged_profile_is_not_kept(run: Run, tmp_path: Path) -> None:
    wide = rendition("wide", "png")
    wide["output"] = {"keep": ["icc"]}
    broken = display_p3()[:128] + bytes(64)
    report = run(encoded(gradient(40, 30), icc_profile=broken), job(wide, shared=WIDE))
    assert report["failure"] is None
    assert opened(tmp_path / "wide").info["icc_profile"] != broken


def test_a_source_that_is_delivered_keeps_its_chunks(run: Run, tmp_path: Path) -> None:
    body = encoded(gradient(40, 30), compress_level=9)
    document = job(rendition("out", "png", compression=1))
    document["renditions"][0]["output"] = {"if_larger": "source"}
    report = run(body[:33] + P3 + body[33:], document)
    assert report["failure"] is None
    assert P3 in (tmp_path / "out").read_bytes()


@pytest.mark.skipif(not features.check("avif"), reason="Pillow has no AVIF")
@pytest.mark.parametrize(("primaries", "transfer", "name"), [(12, 13, "P3"), (9, 13, "BT.2020"), (1, 13, "sRGB")])
def test_an_avif_is_converted_by_its_code_points(made: Made, primaries: int, transfer: int, name: str) -> None:
    colors = [(200, 120, 80)] * 64
    seen = shown(made, files.avif(files.image_of((8, 8), colors), primaries, transfer))[4]
    assert close([seen], expected(name, SRGB, [(200, 120, 80)]), 2)


@pytest.mark.skipif(not features.check("avif"), reason="Pillow has no AVIF")
def test_the_profile_of_an_avif_counts_before_code_points(made: Made) -> None:
    image = files.image_of((8, 8), [(200, 120, 80)] * 64)
    for profile, name in ((files.profile("P3", SRGB), "P3"), (files.profile("P3", SRGB)[:128] + bytes(99), "BT.2020")):
        body = files.avif(image, 9, 13, icc_profile=profile)
        assert close([shown(made, body)[4]], expected(name, SRGB, [(200, 120, 80)]), 2)


@pytest.mark.skipif(not features.check("avif"), reason="Pillow has no AVIF")
def test_frames_of_an_avif_are_converted_by_code_points(run: Run, tmp_path: Path) -> None:
    frames = [files.image_of((16, 16), [(200, 120, level)] * 256) for level in (20, 80, 140)]
    body = files.avif(frames[0], 12, 13, save_all=True, append_images=frames[1:], duration=100)
    report = run(body, job(rendition("out", "png")))
    assert report["failure"] is None
    with Image.open(tmp_path / "out") as image:
        for number, level in enumerate((20, 80, 140)):
            image.seek(number)
            seen = image.convert("RGB").getpixel((8, 8))
            assert close([seen], expected("P3", SRGB, [(200, 120, level)]), 3)  # type: ignore[list-item]


@pytest.mark.parametrize(("primaries", "name"), [(12, "P3"), (9, "BT.2020"), (1, "sRGB")])
def test_a_heif_is_converted_by_its_code_points(made: Made, primaries: int, name: str) -> None:
    pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    body = files.heif(files.image_of((64, 64), [(200, 120, 80)] * 4096), primaries, 13)
    assert close([shown(made, body)[30]], expected(name, SRGB, [(200, 120, 80)]), 3)


def test_built_profiles_agree_with_published_ones(made: Made) -> None:
    """A conversion by numbers equals one by a profile whose colorants were published."""
    image = gradient(64, 64)
    body = encoded(image)
    for name, code in (("P3", 12), ("BT.2020", 9)):
        by_profile = made(encoded(image, icc_profile=files.profile(name, SRGB)))
        assert delta_e(by_profile, made(body[:33] + files.cicp(code, 13) + body[33:])) < 2


def test_values_of_colour_science() -> None:
    """The arithmetic of the benchmark gives the values of colour-science 0.4.7."""
    assert [arithmetic.pq_decode(v) for v in (0.25, 0.5, 0.75)] == pytest.approx([5.154176, 92.245709, 983.377856])
    assert [arithmetic.hlg_decode(v) for v in (0.25, 0.5, 0.75)] == pytest.approx([0.020833, 0.083333, 0.264963], 1e-4)
