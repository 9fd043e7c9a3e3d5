"""HDR gain maps: the rendition's HDR image against that of the source, cropped and resized in linear light.

Generated scenes go through the engine as Ultra HDR files. A reader of this package and libvips (`uhdrload`) reconstruct
source and rendition at full headroom. The measure is the error of log luminance in stops that 95 % of the pixels keep,
where the SDR luminance is at least 0.05.
"""

from __future__ import annotations

import functools
import io
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFilter

from benchmarks.quality import ultra_hdr
from benchmarks.quality.ultra_hdr import Bands, Layout, calc
from benchmarks.table import Row, below
from pipeline.engine.execution import jobs
from pipeline.engine.protocol import VERSION, Job, Limits, RenditionJob, Step

GOAL_STOPS = 0.1
SIZE = (1200, 900)
QUALITIES = (95, 80)
LENS_BLUR_PIXELS = 2
LIMITS = Limits(max_pixels=50_000_000, max_frames=1, max_rendition_bytes=50_000_000, max_rendition_pixels=50_000_000)


@dataclass(frozen=True)
class Operation:
    """Transforms of a recipe, and what they show: a box of the upright source, resized to `size`."""

    name: str
    steps: tuple[tuple[str, dict[str, Any]], ...]
    box: tuple[float, float, float, float]
    size: tuple[int, int]


OPERATIONS = (
    Operation("unchanged", (), (0, 0, 1200, 900), (1200, 900)),
    Operation("crop", (("crop", {"box": [101, 53, 1002, 704]}),), (101, 53, 1002, 704), (901, 651)),
    Operation("resize to 1/2", (("resize", {"width": 600}),), (0, 0, 1200, 900), (600, 450)),
    Operation("resize to 1/4", (("resize", {"width": 300}),), (0, 0, 1200, 900), (300, 225)),
    Operation("resize to 1/6", (("resize", {"width": 200}),), (0, 0, 1200, 900), (200, 150)),
    Operation(
        "crop, then cover",
        (
            ("crop", {"box": [37, 21, 1137, 821]}),
            ("resize", {"width": 333, "height": 333, "mode": "cover", "gravity": "left"}),
        ),
        (37, 21, 837, 821),
        (333, 333),
    ),
)


def rows(size: float) -> Iterator[Row]:
    """Yield the worst error over all operations for each scene, by both readers."""
    operations = OPERATIONS[: max(2, round(len(OPERATIONS) * size))]
    for name, reduction, color in SCENES:
        source = scene_file(name, reduction, color=color)
        for quality in QUALITIES:
            made = [(each, rendition(source, each, quality)) for each in operations]
            label = f"HDR error p95, {name}, {'color' if color else 'gray'} map 1/{reduction}, quality {quality}"
            worst = max(error(source, body, each) for each, body in made)
            yield below(label, worst, "stops", GOAL_STOPS)
            if color:
                continue  # libvips decodes the values of a color map as sRGB before it uses them
            yield vips_row(label, source, made)


def rendition(source: bytes, operation: Operation, quality: int) -> bytes:
    """Run the engine and return the rendition, which has a gain map."""
    steps = [Step(name=name, params=params) for name, params in operation.steps]
    out = RenditionJob(
        name="out",
        file="out",
        format="jpeg",
        options={"quality": quality},
        transforms=steps,
        output={"keep": ["gain_map"]},
    )
    document = Job(
        version=VERSION,
        source="in",
        report="report",
        remove=[],
        formats=["JPEG"],
        limits=LIMITS,
        transforms=[],
        renditions=[out],
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "in").write_bytes(source)
        report = jobs.execute_job(document, Path(folder))
        assert report["failure"] is None, report["failure"]  # noqa: S101
        assert "gain_map" not in report["renditions"][0]["dropped"]  # noqa: S101
        return Path(folder, "out").read_bytes()


def error(source: bytes, body: bytes, operation: Operation) -> float:
    """Return the error of a rendition in stops."""
    wanted = ultra_hdr.resized(_hdr(source), operation.size, operation.box)
    base, gain, gains = ultra_hdr.read(body)
    assert base.size == operation.size  # noqa: S101
    return ultra_hdr.stops_apart(wanted, ultra_hdr.reconstruct(base, gain, gains), ultra_hdr.linear(base))


@functools.lru_cache(maxsize=1)
def _hdr(body: bytes) -> Bands:
    """Reconstruct the HDR image of a source, once for all operations."""
    return ultra_hdr.reconstruct(*ultra_hdr.read(body))


def vips_row(label: str, source: bytes, made: list[tuple[Operation, bytes]]) -> Row:
    """Measure the same by libvips."""
    try:
        import pyvips  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        return Row(f"{label}, libvips", "not measured", "", "", f"<= {GOAL_STOPS:g} stops", met=False)

    def bands(body: bytes) -> Bands:
        image = pyvips.Image.uhdrload_buffer(body).uhdr2scRGB()
        planes = [image[at].write_to_memory() for at in range(3)]
        return [Image.frombytes("F", (image.width, image.height), bytes(plane)) for plane in planes]

    full, worst = bands(source), 0.0
    for each, body in made:
        wanted = ultra_hdr.resized(full, each.size, each.box)
        with Image.open(io.BytesIO(body)) as base:
            worst = max(worst, ultra_hdr.stops_apart(wanted, bands(body), ultra_hdr.linear(base.convert("RGB"))))
    return below(f"{label}, libvips", worst, "stops", GOAL_STOPS)


def _noise(columns: int, seed: int) -> Image.Image:
    """Draw smooth noise with a mean of 0 and a standard deviation of about 1, with `columns` cells across."""
    rows = max(2, columns * SIZE[1] // SIZE[0])
    body = random.Random(seed).randbytes(columns * rows)
    cells = Image.frombytes("L", (columns, rows), body).point([(value - 127.5) / 73.9 for value in range(256)], "F")
    return cells.resize(SIZE, Image.Resampling.BICUBIC)


def _stops(amplitudes: dict[int, float], seed: int) -> Image.Image:
    """Sum up noise in stops: amplitude by the number of cells across."""
    total = Image.new("F", SIZE)
    for columns, amplitude in amplitudes.items():
        total = calc(
            lambda a, amplitude=amplitude: a["total"] + a["noise"] * amplitude, total=total, noise=_noise(columns, seed)
        )
    return total


def _lamps(count: int, radii: tuple[float, float], seed: int) -> Image.Image:
    """Draw lamps as discs, blurred as by a lens; their brightness is from 0.3 to 1."""
    chance = random.Random(seed)
    large = Image.new("L", (SIZE[0] * 2, SIZE[1] * 2))
    draw = ImageDraw.Draw(large)
    for _ in range(count):
        x, y, radius = chance.uniform(0, large.width), chance.uniform(0, large.height), 2 * chance.uniform(*radii)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=chance.randrange(80, 256))
    small = large.resize(SIZE, Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(LENS_BLUR_PIXELS))
    return small.point([value / 255 for value in range(256)], "F")


def _landscape() -> Bands:
    """Draw light as in a photo: contrast at all scales, falling with frequency; a bright sky; slow changes of color."""
    light = _stops({3: 1.2, 7: 0.6, 16: 0.35, 40: 0.2, 100: 0.12, 250: 0.08}, 1)
    tints = [_stops({4: 0.3}, seed) for seed in (11, 12, 13)]
    sky = Image.linear_gradient("L").resize(SIZE).point([max(0.0, 3.0 - value / 40) for value in range(256)], "F")
    return [
        calc(lambda a: 2.0 ** (a["light"] + a["tint"] + a["sky"]) * 0.25, light=light, tint=tint, sky=sky)
        for tint in tints
    ]


def _night() -> Bands:
    """Draw a street at night: lamps of up to 10 times SDR white before dim walls."""
    walls, lamps = _stops({3: 0.8, 12: 0.4, 60: 0.15}, 2), _lamps(18, (5, 30), 3)
    return [
        calc(lambda a, warm=warm: 2.0 ** a["walls"] * 0.15 + a["lamps"] * (10 * warm), walls=walls, lamps=lamps)
        for warm in (1.0, 0.85, 0.6)
    ]


def _glow() -> Bands:
    """Draw wide, soft highlights."""
    glow = _lamps(25, (20, 60), 4).resize((60, 45), Image.Resampling.BOX).resize(SIZE, Image.Resampling.BICUBIC)
    base = _stops({2: 0.7, 5: 0.4}, 5)
    return [
        calc(
            lambda a, share=share: 2.0 ** a["base"] * 0.3 + a["max"](a["glow"], 0.0) * (6 * share), base=base, glow=glow
        )
        for share in (1.0, 0.9, 0.8)
    ]


DRAWN = {"landscape": _landscape, "night": _night, "glow": _glow}
SCENES = (
    ("landscape", 4, False),
    ("landscape", 2, True),
    ("night", 4, False),
    ("night", 2, False),
    ("night", 1, True),
    ("glow", 4, False),
    ("glow", 4, True),
)
"""Scene, reduction of the gain map, and whether it has colors."""


def scene_file(name: str, reduction: int, *, color: bool, layout: Layout | None = None) -> bytes:
    """Draw a scene and write it as an Ultra HDR file."""
    hdr = DRAWN[name]()
    sdr = ultra_hdr.tone_mapped(hdr)
    gain, gains = ultra_hdr.gain_map_of(hdr, sdr, reduction, color=color)
    return ultra_hdr.write(sdr, gain, gains, layout)
