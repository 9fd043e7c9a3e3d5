"""Pixel layouts of BMP and PNG, and CMYK: the rendition is what arithmetic says, or the source is refused by name."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.engine import cmyk

from .bmp_files import Header, run_lengths, write_bmp
from .conftest import Made, Run, job, opened
from .pixels import colors, pixels_of
from .png_files import chunk, write_png

# BMP

MASKS = {
    16: [
        *[
            (0xF800, 0x7E0, 0x1F, 0),
            (0x7C00, 0x3E0, 0x1F, 0),
            (0x7C00, 0x3E0, 0x1F, 0x8000),
            (0xF00, 0xF0, 0xF, 0xF000),
        ],
        *[(0x1F, 0x7E0, 0xF800, 0), (0xE0, 0x1C, 3, 0), (0xFF00, 0xFF00 >> 8, 0, 0)],
    ],
    32: [
        *[(0xFF0000, 0xFF00, 0xFF, 0), (0xFF0000, 0xFF00, 0xFF, 0xFF000000), (0xFF, 0xFF00, 0xFF0000, 0xFF000000)],
        *[
            (0xFF000000, 0xFF0000, 0xFF00, 0xFF),
            (0xFF000000, 0xFF0000, 0xFF00, 0),
            (0xFF00, 0xFF, 0xFF000000, 0xFF0000),
        ],
        *[(0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000), (0xF800, 0x7E0, 0x1F, 0xFF0000), (0x7FFFF000, 0xFFF, 0, 0)],
    ],
}
DEFAULT = {16: (0x7C00, 0x3E0, 0x1F, 0), 24: (0xFF0000, 0xFF00, 0xFF, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}


def headers(bits: int) -> Iterator[Header]:
    """Yield every version of the header for a depth, with the masks that it can hold."""
    for size in (12, 16, 40, 52, 56, 64, 108, 124):
        for down in (False, True) if size != 12 else (False,):
            yield Header(size, bits, top_down=down)
        for masks in MASKS.get(bits, []) if size in (40, 52, 56, 108, 124) else []:
            if size == 40:
                yield Header(size, bits, 6, masks)
            if size >= 56 or not masks[3]:
                yield Header(size, bits, 3, masks if size >= 56 else masks[:3], top_down=bool(masks[0] & 1))


def level(value: int, mask: int) -> float:
    """Compute the 8-bit level of the bits under a mask."""
    shift = (mask & -mask).bit_length() - 1
    return ((value & mask) >> shift) * 255 / (mask >> shift) if mask else 0.0


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16, 24, 32])
def test_a_bmp_is_read_in_every_version_and_depth(run: Run, tmp_path: Path, bits: int) -> None:
    wrong = []
    for header in headers(bits):
        draw = random.Random(str(header))
        palette = colors(draw, 1 << bits) if bits <= 8 else []
        rows = [[draw.randrange(1 << bits) for _ in range(13)] for _ in range(5)]
        report = run(write_bmp(rows, header, palette))
        if report["failure"]:
            wrong.append(f"{header}: {report['failure']['message']}")
            continue
        masks = (*header.masks, 0)[:4] if header.masks else DEFAULT.get(bits, (0, 0, 0, 0))
        for shown, value in zip(
            pixels_of(opened(tmp_path / "out")), (value for row in rows for value in row), strict=True
        ):
            alpha = level(value, masks[3]) if masks[3] else 255.0
            color = palette[value] if palette else [level(value, mask) for mask in masks[:3]]
            if alpha and any(abs(one - other) > 1 for one, other in zip(shown, (*color, alpha), strict=True)):
                wrong.append(f"{header}: {shown} is not {color}")
                break
    assert not wrong


@pytest.mark.parametrize(("bits", "compression"), [(8, 1), (4, 2)])
def test_a_bmp_with_run_lengths_is_read(made: Made, bits: int, compression: int) -> None:
    draw = random.Random(bits)
    palette = colors(draw, 1 << bits)
    rows = [[draw.randrange(1 << bits) for _ in range(14)] for _ in range(6)]
    shown = made(write_bmp(rows, Header(40, bits, compression), palette, run_lengths(rows, bits)))
    assert pixels_of(shown) == [(*palette[value], 255) for row in rows for value in row]


RUNS = Header(40, 8, 1)


@pytest.mark.parametrize(
    ("runs", "shown"),
    [
        (b"\x03\x01\0\1", [0, 0, 0, 1, 1, 1]),  # an early end
        (b"\x09\x01\0\0\x01\x02\0\1", [2, 0, 0, 1, 1, 1]),  # a run behind the end of its row
        (b"\0\2\1\1\x02\x03\0\1", [0, 3, 3, 0, 0, 0]),  # a move
        (b"\x03\x01\0\0\x03\x02", [2, 2, 2, 1, 1, 1]),  # no end, but all pixels
    ],
)
def test_runs_may_leave_pixels_out(made: Made, runs: bytes, shown: list[int]) -> None:
    palette = [(at, 0, 0) for at in range(256)]
    assert [pixel[0] for pixel in pixels_of(made(write_bmp([[0] * 3] * 2, RUNS, palette, runs)))] == shown


@pytest.mark.parametrize("runs", [b"", b"\x03\x01", b"\x03\x01\0\0\0", b"\0\2\1", b"\0\x09\1\2"])
def test_runs_that_end_early_are_damage(run: Run, runs: bytes) -> None:
    body = write_bmp([[0] * 3] * 2, RUNS, [(at, 0, 0) for at in range(256)], runs)
    failure = run(body)["failure"]
    assert failure is not None
    assert failure["kind"] == "damaged_image"
    report = run(body, job(on_truncated="patch"))
    assert report["failure"] is None
    assert report["renditions"][0]["extra"] == {"patched": "true"}


def test_an_alpha_that_is_nowhere_set_is_ignored(made: Made) -> None:
    """Many programs declare an alpha mask and leave the bits at 0. Browsers show such files as opaque."""
    header = Header(124, 32, 3, (0xFF0000, 0xFF00, 0xFF, 0xFF000000))
    shown = made(write_bmp([[0x102030, 0x405060]], header))
    assert (shown.mode, shown.getpixel((1, 0))) == ("RGB", (0x40, 0x50, 0x60))


@pytest.mark.parametrize(
    ("count", "bits", "shown"), [(2, 8, [(0, 0, 0), (255, 255, 255)]), (16, 4, [(at, at, at) for at in range(16)])]
)
def test_a_short_gray_palette_is_a_palette(made: Made, count: int, bits: int, shown: list[Any]) -> None:
    """Pillow mistakes them for gray pixels of another depth."""
    body = write_bmp([list(range(count))], Header(40, bits, colors=count), shown)
    assert [made(body).convert("RGB").getpixel((at, 0)) for at in range(count)] == shown


def test_indices_outside_the_palette_are_black(made: Made) -> None:
    body = write_bmp([[0, 1, 2, 255]], Header(40, 8, colors=2), [(9, 8, 7), (1, 2, 3)])
    assert [made(body).convert("RGB").getpixel((at, 0)) for at in range(4)] == [
        (9, 8, 7),
        (1, 2, 3),
        (0,) * 3,
        (0,) * 3,
    ]


@pytest.mark.parametrize(
    ("header", "word"),
    [
        (Header(40, 8, 4), "JPEG"),
        (Header(40, 8, 5), "PNG"),
        (Header(64, 1, 3), "Huffman"),
        (Header(64, 24, 4), "RLE24"),
        (Header(40, 64), "64 bits"),
        (Header(40, 32, 3, (0xFF00FF, 0xFF00, 0xFF)), "masks"),
        (Header(40, 32, 3, (0xF0F000, 0xF00, 0xFF)), "masks"),
        (Header(200, 24), "header of 200 bytes"),
    ],
)
def test_other_kinds_of_bmp_are_refused_by_name(run: Run, header: Header, word: str) -> None:
    failure = run(write_bmp([[0] * 4] * 4, header, data=bytes(200)))["failure"]
    assert failure is not None
    assert failure["kind"] == "unsupported_variant"
    assert word in failure["message"]


@pytest.mark.parametrize("cut", [0, 10, 16, 20, 40, 56, 60, 64])
def test_a_bmp_that_ends_early_is_damage(run: Run, cut: int) -> None:
    body = write_bmp([[0x102030] * 4] * 4, Header(40, 32, 3, (0xFF0000, 0xFF00, 0xFF)))
    failure = run(b"BM" + body[2 : max(2, cut)])["failure"]
    assert failure is not None
    assert failure["kind"] == "damaged_image"


def test_a_truncated_bmp_can_be_patched(run: Run, tmp_path: Path) -> None:
    header = Header(124, 32, 3, (0xFF0000, 0xFF00, 0xFF, 0xFF000000))
    body = write_bmp([[0xFF102030] * 50] * 50, header)
    report = run(body[: len(body) // 2], job(on_truncated="patch"))
    assert report["failure"] is None
    assert report["renditions"][0]["extra"] == {"patched": "true"}
    assert opened(tmp_path / "out").size == (50, 50)


# PNG

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


@cache
def png_palette(depth: int) -> list[tuple[int, ...]]:
    """Draw a palette with alpha."""
    draw = random.Random(depth)
    return [(*color, draw.randrange(1, 256)) for color in colors(draw, 1 << depth)]


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("clear", [False, True])
@pytest.mark.parametrize(("kind", "depth"), [(kind, depth) for kind, depths in DEPTHS.items() for depth in depths])
def test_a_png_is_read_in_every_kind_and_depth(
    made: Made, kind: int, depth: int, clear: bool, interlaced: bool
) -> None:
    draw = random.Random(kind * 100 + depth)
    rows = [[tuple(draw.randrange(1 << depth) for _ in range(CHANNELS[kind])) for _ in range(11)] for _ in range(9)]
    chunks, gone = b"", rows[3][4]
    if kind == 3:
        chunks = chunk(b"PLTE", bytes(part for color in png_palette(depth) for part in color[:3]))
        chunks += chunk(b"tRNS", bytes(color[3] for color in png_palette(depth))) if clear else b""
    elif clear and kind in (0, 2):
        chunks = chunk(b"tRNS", struct.pack(f">{len(gone)}H", *gone))
    shown = pixels_of(made(write_png(rows, depth, kind, chunks, interlaced=interlaced)))
    for seen, pixel in zip(shown, (pixel for row in rows for pixel in row), strict=True):
        levels = [value * 255 / ((1 << depth) - 1) for value in pixel]
        alpha = levels.pop() if kind in (4, 6) else 255.0
        if kind == 3:
            *levels, alpha = png_palette(depth)[pixel[0]]
            alpha = alpha if clear else 255
        elif clear and kind in (0, 2) and pixel == gone:
            alpha = 0
        # The clear color of a PNG with 3 × 16 bits is compared in 8 bits, so that a neighbor may be clear as well.
        want = (*(levels if len(levels) == 3 else levels * 3), alpha)
        if alpha >= 1.5:
            assert all(abs(one - other) <= 1 for one, other in zip(seen, want, strict=True)), (seen, want)
        else:
            assert seen[3] <= 2


# CMYK


def test_inks_follow_the_documented_formula() -> None:
    """Compute the mixtures of the 16 solids directly, and compare them with the table after conversion to sRGB."""
    draw = random.Random(7)
    inks = [tuple(draw.choice([0, 255, draw.randrange(256)]) for _ in range(4)) for _ in range(300)]
    image = Image.frombytes("CMYK", (len(inks), 1), bytes(value for ink in inks for value in ink))
    pairs = zip(pixels_of(cmyk.cmyk_to_srgb(image)), inks, strict=True)
    apart = [max(abs(one - other) for one, other in zip(seen, _printed(ink), strict=False)) for seen, ink in pairs]
    # Where a color leaves sRGB, its smallest channel is clipped between two points of the table.
    assert sorted(apart)[int(0.97 * len(apart))] <= 3
    assert max(apart) <= 20


def _printed(ink: Sequence[int]) -> list[float]:
    """Mix the solids by the areas of Demichel, in light relative to paper and to the darkest print."""
    areas = [
        value / 255 + 4 * gain * value / 255 * (1 - value / 255) for value, gain in zip(ink, cmyk.DOT_GAIN, strict=True)
    ]
    light = [0.0, 0.0, 0.0]
    for solid in itertools.product((0, 1), repeat=4):
        share = 1.0
        for on, area in zip(solid, areas, strict=True):
            share *= area if on else 1 - area
        light = [sum_ + share * part for sum_, part in zip(light, _solid(solid), strict=True)]
    dark = _solid((1, 1, 1, 1))
    xyz = [max(0.0, (part - low) / (1 - low)) * white for part, low, white in zip(light, dark, D50, strict=True)]
    matrix = (
        (3.1338561, -1.6168667, -0.4906146),
        (-0.9787684, 1.9161415, 0.0334540),
        (0.0719453, -0.2289914, 1.4052427),
    )
    linear = [min(1.0, max(0.0, sum(one * other for one, other in zip(row, xyz, strict=True)))) for row in matrix]
    return [255 * (12.92 * part if part <= 0.0031308 else 1.055 * part ** (1 / 2.4) - 0.055) for part in linear]


D50 = (0.9642, 1.0, 0.8249)


def _solid(inks: tuple[int, ...]) -> list[float]:
    """Return the light of an overprint, relative to paper. Black lets the same share of each color through."""
    paper, color = _xyz(95, 0, -2), _xyz(*cmyk.SOLIDS[inks[:3]])  # type: ignore[index]
    parts = [one / other for one, other in zip(color, paper, strict=True)]
    if not inks[3]:
        return parts
    black = _xyz(cmyk.BLACK_LIGHTNESS, 0, 0)[1] / paper[1]
    surface = cmyk.SURFACE_REFLECTION
    return [surface + (part - surface) * (black - surface) / (1 - surface) for part in parts]


def _xyz(light: float, a: float, b: float) -> list[float]:
    """Convert CIELAB to XYZ."""
    middle = (light + 16) / 116
    roots = (middle + a / 500, middle, middle - b / 200)
    parts = [root**3 if root > 6 / 29 else 3 * (6 / 29) ** 2 * (root - 4 / 29) for root in roots]
    return [part * white for part, white in zip(parts, D50, strict=True)]
