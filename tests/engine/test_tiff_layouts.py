"""TIFF pixel layouts: every one is shown right or refused as an unsupported variant. Nothing else may happen."""

from __future__ import annotations

import io
import itertools
import random
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import PIL
import pytest
from PIL import Image

from pipeline.engine.cmyk import cmyk_to_srgb
from pipeline.engine.decode import tiff_file, tiff_layout

from .conftest import Made, Run, encoded, job, noise, opened, steps
from .tiff_files import DEFLATE, JPEG, LZW, NONE, PACKBITS, Layout, Pixel, Rows, split, write_pages, write_tiff

SIZE = (21, 19)
COLORS = {0: 1, 1: 1, 2: 3, 3: 1, 4: 1, 5: 4, 6: 3, 8: 3, 9: 3}
UNSIGNED = [(bits, 1) for bits in (1, 2, 4, 8, 12, 16, 32, 64)]
NUMBERS = [*UNSIGNED, (8, 2), (16, 2), (32, 2), (16, 3), (32, 3), (64, 3)]
SAMPLES: list[tuple[int, tuple[int, ...]]] = [
    *((gray, extras) for gray in (0, 1) for extras in ((), (0,), (1,), (2,), (0, 0))),
    *((2, extras) for extras in ((), (0,), (1,), (2,), (0, 0), (2, 0), (1, 0))),
    *((3, extras) for extras in ((), (0,), (2,))),
    *((5, extras) for extras in ((), (0,), (2,))),
    *((other, ()) for other in (4, 6, 8, 9)),
]
READ = {
    **{(gray, ()): {(bits, 1) for bits in (1, 2, 4, 8, 12, 16, 32)} | {(32, 3), (64, 3)} for gray in (0, 1)},
    **{(gray, (extra,)): {(8, 1), (16, 1)} for gray in (0, 1) for extra in (0, 1, 2)},
    **{(gray, (0, 0)): {(8, 1), (16, 1)} for gray in (0, 1)},
    **{(2, extras): {(8, 1), (16, 1)} for extras in ((), (0,), (1,), (2,))},
    **{(2, extras): {(8, 1)} for extras in ((0, 0), (2, 0), (1, 0))},
    (3, ()): {(1, 1), (2, 1), (4, 1), (8, 1)},
    **{(3, (extra,)): {(8, 1)} for extra in (0, 2)},
    (5, ()): {(8, 1), (16, 1)},
    (5, (0,)): {(8, 1)},
    (6, ()): {(8, 1)},
}
"""Depths and number formats that are read with interleaved samples. Others may be read, or refused."""

SIGNED = {(1, ()): {(16, 2), (32, 2)}}


def storages(bits: int, kind: int, samples: int) -> Iterator[Layout]:
    """Yield ways to store the same pixels: planes, compression, predictor, tiles, byte order, fill order."""
    predictor = 3 if kind == 3 else 2 if kind == 1 and bits in (8, 16, 32) else 1
    packed = [(NONE, 1), (PACKBITS, 1), (LZW, 1), (LZW, predictor), (DEFLATE, predictor)]
    turn = itertools.cycle([(0, "<"), (16, ">"), (0, ">"), (16, "<")])
    for _ in range(bits % 3 + samples % 2):
        next(turn)  # other combinations for other depths
    for planar in (1, 2) if samples > 1 else (1,):
        for compression, predict in dict.fromkeys(packed):
            tile, order = next(turn)
            yield Layout(-1, planar=planar, compression=compression, predictor=predict, tile=tile, order=order)
        if bits in (1, 8, 16):
            yield Layout(-1, planar=planar, fill=2, tile=next(turn)[0])
            yield Layout(-1, planar=planar, fill=2, compression=LZW)


@cache
def palette(bits: int) -> tuple[int, ...]:
    """Return random colors of 16 bits whose upper and lower byte are equal: first all reds, then greens, then blues."""
    draw = random.Random(bits)
    return tuple(draw.randrange(256) * 257 for _ in range(3 << bits))


def full(bits: int, kind: int) -> float:
    """Return the value of white."""
    return 1.0 if kind == 3 else float((1 << bits) - 1)


@cache
def pixels(photometric: int, extras: tuple[int, ...], bits: int, kind: int) -> tuple[tuple[Pixel, ...], ...]:
    """Draw random pixels. Colors with associated alpha do not exceed it; alpha is never small."""
    draw = random.Random(photometric * 1000 + bits * 10 + kind)
    count = COLORS[photometric]
    white = full(bits, kind)

    def level(low: float = 0.0) -> float:
        value = white * draw.uniform(low, 1)
        return value if kind == 3 else round(value) - (round(white / 2) if kind == 2 else 0)

    def pixel() -> Pixel:
        values = [level() for _ in range(count)]
        rest = [level(0.6) for _ in extras]
        return (*(min(value, rest[0]) if 1 in extras else value for value in values), *rest)

    return tuple(tuple(pixel() for _ in range(SIZE[0])) for _ in range(SIZE[1]))


def expected(layout: Layout, rows: Rows) -> list[tuple[float, ...]]:
    """Compute the colors in 8 bits, with alpha."""
    return [_color(layout, pixel) for row in rows for pixel in row]


def _color(layout: Layout, pixel: Pixel) -> tuple[float, ...]:
    """Compute the color of one pixel by the definitions of TIFF 6.0."""
    levels = [value * 255 / full(layout.bits, layout.kind) for value in pixel]
    count = COLORS[layout.photometric]
    alpha = levels[count] if layout.extras and layout.extras[0] else 255.0
    colors = levels[:count]
    if layout.photometric == 0:
        colors = [255 - colors[0]]
    elif layout.photometric == 3:
        table, entries, index = palette(layout.bits), 1 << layout.bits, int(pixel[0])
        colors = [table[index + band * entries] / 257 for band in range(3)]
    elif layout.photometric == 6:
        light, blue, red = colors[0], colors[1] - 128, colors[2] - 128
        exact = (light + 1.402 * red, light - 0.344136 * blue - 0.714136 * red, light + 1.772 * blue)
        colors = [min(255.0, max(0.0, level)) for level in exact]
    if layout.extras and layout.extras[0] == 1:
        # 0 is black before the alpha is divided out, also where 0 is white.
        colors = [min(255.0, level * 255 / alpha) for level in colors]
    return (*(colors if len(colors) > 1 else colors * 3), alpha)


def difference(shown: Image.Image, colors: list[tuple[float, ...]]) -> float:
    """Return the largest difference between an image and expected colors."""
    body = shown.convert("RGBA").tobytes()
    return max(abs(body[4 * at + band] - color[band]) for at, color in enumerate(colors) for band in range(4))


def tolerance(layout: Layout) -> float:
    """Return the largest difference that rounding explains: two roundings in 8 bits, more where alpha divides."""
    return 3.5 if layout.photometric == 6 or 1 in layout.extras else 1.6


@pytest.mark.parametrize(("photometric", "extras"), SAMPLES)
def test_every_layout_is_right_or_refused(run: Run, tmp_path: Path, photometric: int, extras: tuple[int, ...]) -> None:
    samples, wrong, refused = COLORS[photometric] + len(extras), [], set()
    for bits, kind in NUMBERS:
        rows = pixels(photometric, extras, bits, kind)
        tags = ((320, "H", palette(bits)),) if photometric == 3 and bits <= 8 else ()
        numbers = {"bits": bits, "kind": kind, "samples": samples, "extras": extras, "tags": tags}
        ways = list(storages(bits, kind, samples))
        if (bits, kind) not in READ.get((photometric, extras), ()):
            ways = ways[:1]
        for way in ways:
            layout = replace(way, photometric=photometric, **numbers)
            failure = run(write_tiff(rows, layout))["failure"]
            if failure is not None:
                refused.add((bits, kind, layout.planar, layout.fill, layout.compression))
                if failure["kind"] != "unsupported_variant":
                    wrong.append(f"{layout}: {failure['message']}")
            elif (bits, kind) in SIGNED.get((photometric, extras), ()) or photometric in (5, 8):
                continue  # see the tests of signed numbers, inks and L*a*b*
            elif difference(opened(tmp_path / "out"), expected(layout, rows)) > tolerance(layout):
                wrong.append(f"{layout}: wrong pixels")
    assert not wrong
    kinds = {key[:2] for key in refused if key[2] == 1 and not (photometric == 6 and key[3:] == (2, NONE))}
    assert not kinds & READ.get((photometric, extras), set())


@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("extras", [(), (0,)])
@pytest.mark.parametrize("bits", [8, 16])
def test_inks_are_read_in_every_layout(
    run: Run, tmp_path: Path, planar: int, extras: tuple[int, ...], bits: int
) -> None:
    rows = pixels(5, extras, bits, 1)
    shift = bits - 8
    inks = Image.frombytes(
        "CMYK", SIZE, bytes(int(value) >> shift for row in rows for pixel in row for value in pixel[:4])
    )
    want = cmyk_to_srgb(inks).convert("RGBA").tobytes()
    colors = [tuple(map(float, want[at : at + 4])) for at in range(0, len(want), 4)]
    ways = [
        ("<", NONE, 0, 1),
        (">", DEFLATE, 16, 1),
        (">", NONE, 0, 1),
        ("<", LZW, 0, 1),
        ("<", NONE, 0, 2),
        (">", LZW, 16, 2),
    ]
    for order, compression, tile, fill in ways:
        layout = Layout(5, bits, 1, 4 + len(extras), planar, 1, compression, tile, order, fill, extras)
        failure = run(write_tiff(rows, layout))["failure"]
        if failure is not None:
            assert (failure["kind"], bits, extras, planar) == ("unsupported_variant", 16, (0,), 1)
        else:
            assert difference(opened(tmp_path / "out"), colors) <= 2


def test_other_inks_than_cmyk_are_refused(run: Run) -> None:
    layout = Layout(5, samples=4, tags=((332, "H", (2,)),))
    failure = run(write_tiff(pixels(5, (), 8, 1), layout))["failure"]
    assert failure is not None
    assert failure["kind"] == "unsupported_variant"
    assert "other inks than CMYK" in failure["message"]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [NONE, LZW])
@pytest.mark.parametrize("bits", [16, 32])
def test_negative_numbers_are_black(made: Made, order: str, compression: int, bits: int) -> None:
    """The range is that of unsigned 16-bit numbers."""
    rows = [[(-5,), (0,), (257 * 7,), (257 * 100,)], [(-(1 << bits - 1),), (32_767,), (1,), (255,)]]
    shown = made(write_tiff(rows, Layout(1, bits, 2, compression=compression, order=order)))
    assert list(shown.tobytes()) == [0, 0, 7, 100, 0, 127, 0, 1]


@pytest.mark.parametrize("tile", [0, 16])
@pytest.mark.parametrize("compression", [NONE, LZW, DEFLATE, PACKBITS])
@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2)])
def test_coarse_colors_are_spread(made: Made, subsampling: tuple[int, int], compression: int, tile: int) -> None:
    """The colors of a cell are equal, so that each way of spreading them gives the same result."""
    rows = [list(row) for row in pixels(6, (), 8, 1)]
    across, down = subsampling
    for y, row in enumerate(rows):
        for x, pixel in enumerate(row):
            cell = rows[y // down * down][x // across * across]
            row[x] = (pixel[0], *cell[1:])
    layout = Layout(6, samples=3, compression=compression, tile=tile, subsampling=subsampling)
    assert difference(made(write_tiff(rows, layout)), expected(layout, rows)) <= 3.5


@pytest.mark.parametrize("tile", [0, 16])
@pytest.mark.parametrize("photometric", [0, 1, 2])
def test_jpeg_strips_are_decoded(made: Made, photometric: int, tile: int) -> None:
    rows = [[(x * 6 + y,) * COLORS[photometric] for x in range(32)] for y in range(16)]
    layout = Layout(photometric, samples=COLORS[photometric], compression=JPEG, tile=tile)
    mode = "L" if photometric < 2 else "RGB"
    options = {"quality": 100, "subsampling": 0, **({"keep_rgb": True} if mode == "RGB" else {})}
    blocks = []
    for block in split(rows, layout):
        body = bytes(int(value) for row in block for pixel in row for value in pixel)
        blocks.append(encoded(Image.frombytes(mode, (len(block[0]), len(block)), body), "JPEG", **options))
    assert difference(made(write_tiff(rows, layout, blocks)), expected(layout, rows)) <= 3


def test_lab_is_converted_by_arithmetic(made: Made) -> None:
    """Gray, and colors inside sRGB. CIELAB of TIFF is for D50 (supplement 2 of TIFF 6.0)."""
    labs = [(0, 0, 0), (50, 0, 0), (100, 0, 0), (50, 60, 40), (60, -40, 30), (35, 20, -50), (80, -5, 60)]
    want = [_srgb_of_lab(*lab) for lab in labs]
    row = [(round(light * 2.55), a % 256, b % 256) for light, a, b in labs]
    for compression, tile in ((NONE, 0), (DEFLATE, 0), (LZW, 16), (NONE, 16)):
        shown = made(write_tiff([row] * 2, Layout(8, samples=3, compression=compression, tile=tile)))
        assert difference(shown, [(*color, 255.0) for color in want] * 2) <= 3


@pytest.mark.parametrize("compression", [NONE, LZW])
@pytest.mark.parametrize(("planar", "fill"), [(2, 1), (1, 2), (2, 2)])
def test_lab_in_rare_layouts_is_refused(run: Run, planar: int, fill: int, compression: int) -> None:
    layout = Layout(8, samples=3, planar=planar, fill=fill, compression=compression)
    failure = run(write_tiff(pixels(8, (), 8, 1), layout))["failure"]
    assert failure is not None
    assert failure["kind"] == "unsupported_variant"


def _srgb_of_lab(light: float, a: float, b: float) -> tuple[float, ...]:
    """Convert CIELAB (D50) to sRGB, with the adaptation of Bradford."""
    middle = (light + 16) / 116
    xyz = [
        (root**3 if root > 6 / 29 else 3 * (6 / 29) ** 2 * (root - 4 / 29)) * white
        for root, white in zip((middle + a / 500, middle, middle - b / 200), (0.9642, 1.0, 0.8249), strict=True)
    ]
    matrix = (
        (3.1338561, -1.6168667, -0.4906146),
        (-0.9787684, 1.9161415, 0.0334540),
        (0.0719453, -0.2289914, 1.4052427),
    )
    linear = [min(1.0, max(0.0, sum(one * other for one, other in zip(row, xyz, strict=True)))) for row in matrix]
    return tuple(255 * (12.92 * part if part <= 0.0031308 else 1.055 * part ** (1 / 2.4) - 0.055) for part in linear)


def test_a_palette_of_8_bit_numbers_is_not_black(made: Made) -> None:
    """Some programs write 8-bit numbers into the 16-bit palette; readers recognize it by their size."""
    table = tuple(value % 256 for value in range(3 << 4))
    rows = [[(x % 16,) for x in range(16)]] * 4
    shown = made(write_tiff(rows, Layout(3, 4, tags=((320, "H", table),)))).convert("RGB")
    assert [shown.getpixel((x, 2)) for x in range(16)] == [(x, x + 16, x + 32) for x in range(16)]


@pytest.mark.parametrize("table", [(), (1, 2, 3), tuple(range(3 << 5))])
def test_a_palette_of_a_wrong_length_is_damage(run: Run, table: tuple[int, ...]) -> None:
    failure = run(write_tiff([[(1,)] * 4] * 4, Layout(3, 4, tags=((320, "H", table),) if table else ())))["failure"]
    assert failure is not None
    assert failure["kind"] == "damaged_image"


def test_each_page_is_read_by_its_own_layout(made: Made, run: Run) -> None:
    rows = [[(value,) for value in (0, 9_000, 65_535)]]
    colors = [[(200, 100, 50)] * 3]
    pages = write_pages(
        [
            (rows, Layout(0, 16), None),
            (colors, Layout(2, 8, samples=3, planar=2), None),
            (rows, Layout(1, 64), None),
            (rows, Layout(1, 16, order=">"), None),
        ]
    )
    assert list(made(pages).tobytes()) == [255, 220, 0]
    assert made(pages, job(shared=steps(("frame", {"index": 1})))).getpixel((1, 0)) == (200, 100, 50)
    failure = run(pages, job(shared=steps(("frame", {"index": 2}))))["failure"]
    assert failure is not None
    assert failure["kind"] == "unsupported_variant"


def test_a_carrier_is_turned_and_reported_as_what_it_shows(run: Run, tmp_path: Path) -> None:
    rows = [[(x * 9_000, y * 9_000, 0) for x in range(6)] for y in range(3)]
    layout = Layout(2, 16, samples=3, planar=2, tags=((274, "H", (6,)),))
    report = run(write_tiff(rows, layout))
    assert report["failure"] is None
    assert report["source"] is not None
    assert (report["source"]["mode"], report["source"]["width"], report["source"]["height"]) == ("RGB", 3, 6)
    shown = opened(tmp_path / "out")
    assert shown.size == (3, 6)
    assert shown.getpixel((2, 0)) == (0, 0, 0)
    assert shown.getpixel((0, 5)) == (45_000 >> 8, 18_000 >> 8, 0)


@pytest.mark.parametrize("compression", [34712, 34887, 50002, 9])
def test_unknown_compressions_are_refused_by_name(run: Run, compression: int) -> None:
    failure = run(write_tiff([[(1,)] * 8] * 4, Layout(1, compression=compression)))["failure"]
    assert failure is not None
    assert failure["kind"] == "unsupported_variant"
    assert "compression" in failure["message"]


@pytest.mark.parametrize(
    "layout",
    [Layout(1, compression=12345), Layout(999), Layout(1, kind=9), Layout(2, samples=1), Layout(1, kind=3)],
    ids=str,
)
def test_numbers_without_a_meaning_are_damage(run: Run, layout: Layout) -> None:
    body = write_tiff([[(1,) * layout.samples] * 8] * 4, layout, [b""])
    failure = run(body)["failure"]
    assert failure is not None
    assert failure["kind"] == "damaged_image"


def test_a_damaged_carrier_is_damage(run: Run) -> None:
    """Cut the pixels of layouts that libtiff decodes: the file ends early, and offsets point behind its end."""
    photo = noise((40, 30), 60).tobytes()
    rows = [[(photo[y * 40 + x] * 257,) for x in range(40)] for y in range(30)]
    for layout in (Layout(0, 16), Layout(0, 16, compression=DEFLATE), Layout(1, 32, compression=LZW)):
        blocks = [b"\0" * 7] * 8
        failure = run(write_tiff(rows, layout, blocks))["failure"]
        assert failure is not None
        assert failure["kind"] == "damaged_image"


def test_16_bit_renditions_of_pillow_still_open(made: Made) -> None:
    image = Image.new("I;16", (256, 1))
    image.putdata([value * 257 for value in range(256)])
    buffer = io.BytesIO()
    image.save(buffer, "TIFF", compression="tiff_deflate")
    assert list(made(buffer.getvalue()).tobytes()) == list(range(256))


def test_webp_in_a_tiff_is_refused_where_libtiff_lacks_it(run: Run) -> None:
    rows = [[(200, 100, 50)] * 16] * 16
    still = encoded(Image.new("RGB", (16, 4), (200, 100, 50)), "WEBP", lossless=True)
    failure = run(write_tiff(rows, Layout(2, samples=3, compression=50001), [still] * 4))["failure"]
    assert failure is None or (failure["kind"], "WebP" in failure["message"]) == ("unsupported_variant", True)


def test_a_cut_page_is_not_assembled(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # A file of 1 KB can declare an image that fills the limit. libtiff leaves its pages untouched in memory.
    assembled = []
    monkeypatch.setattr(tiff_layout, "assemble", lambda *_: assembled.append(1))
    body = write_tiff([[(0,)] * 90] * 90, Layout(0, bits=16), blocks=[bytes(500)])
    failure = run(body, job(max_pixels=10_000))["failure"]
    assert failure is not None
    assert failure["kind"] == "damaged_image"
    assert not assembled


def test_deep_gray_is_scaled_in_bands(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    body = write_tiff([[((x + 13 * y) << 23,) for x in range(21)] for y in range(19)], Layout(1, bits=32))
    whole = made(body).tobytes()
    monkeypatch.setattr(tiff_layout, "_BAND_PIXELS", 43)
    assert made(body).tobytes() == whole


@pytest.mark.parametrize(("compression", "number"), [("zstd", 50000), ("lzma", 34925)])
def test_damage_in_a_rare_compression_is_no_variant(run: Run, compression: str, number: int) -> None:
    # Pillow 11 crashes when it writes a compression that libtiff lacks. Its newer wheels have both.
    if int(PIL.__version__.partition(".")[0]) < 12 and not tiff_file._is_supported(number):
        pytest.skip(f"libtiff of Pillow {PIL.__version__} lacks {compression}")
    body = bytearray(encoded(noise((64, 64), 60), "TIFF", compression=compression))
    with Image.open(io.BytesIO(body)) as image:
        start, size = (image.tag_v2[tag][0] for tag in (273, 279))  # type: ignore[attr-defined]
    body[start + 16 : start + size] = b"\xff" * (size - 16)
    failure = run(bytes(body))["failure"]
    assert failure is not None
    assert failure["kind"] == "damaged_image"
