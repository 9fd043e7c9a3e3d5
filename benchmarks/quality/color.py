"""Figure "color": renditions against colour arithmetic, for each way in which a file declares its color space.

Each row is a color space and a way to declare it, over all formats that can carry it. A file shows flat patches inside
sRGB and a gray ramp. Its decoded samples go through `color_arithmetic`, and the rendition (PNG) must show the same.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from statistics import fmean

from PIL import Image, features

from benchmarks.quality import color_arithmetic as arithmetic
from benchmarks.quality import color_files as files
from benchmarks.quality.color_arithmetic import Triple
from benchmarks.table import Row
from pipeline.engine.execution import jobs
from pipeline.engine.protocol import VERSION, Job, Limits, RenditionJob

try:
    import pillow_heif

    pillow_heif.register_heif_opener()
    HEIF = True
except ImportError:
    HEIF = False

LIMITS = Limits(max_pixels=10**9, max_frames=1000, max_rendition_bytes=10**9, max_rendition_pixels=10**9)
PATCH = 8
"""Side of a patch in pixels."""

COLUMNS = 32
GOAL = "dE2000 mean <= 1, max <= 3"
CODE_POINTS = {"sRGB": (1, 13), "P3": (12, 13), "BT.2020": (9, 14)}

Decode = Callable[[float], float]


@dataclass(frozen=True)
class Declared:
    """One way to declare a color space: the function makes a file from 16-bit samples.

    `expect` converts samples from 0 to 1 to sRGB. `depth` is the number of bits of the samples in the file.
    """

    what: str
    make: Callable[[tuple[int, int], files.Samples], bytes]
    expect: Callable[[Triple], Triple]
    depth: int = 8


def rows(size: float) -> Iterator[Row]:
    """Measure all rows."""
    for what, ways in _ways().items():
        errors: list[float] = []
        monotonic = True
        for way in ways:
            samples = _samples(what, size)
            try:
                shown, stored = _through_engine(way, samples)
            except _MissingError:
                continue
            errors += [_error(way.expect(one), other) for one, other in zip(stored, shown, strict=True)]
            pairs = pairwise(shown[-256:])
            monotonic &= all(a <= b for one, two in pairs for a, b in zip(one, two, strict=True))
        yield _row(what, errors, monotonic=monotonic)


def _row(what: str, errors: list[float], *, monotonic: bool) -> Row:
    """Build the row of one color space."""
    if not errors:
        return Row(what, "not measured", "", "", GOAL, met=False)
    mean, worst = fmean(errors), max(errors)
    note = "" if monotonic else " ramp!"
    return Row(what, f"{mean:.2f} / {worst:.2f}{note}", "", "", GOAL, mean <= 1 and worst <= 3 and monotonic)


class _MissingError(Exception):
    """This environment cannot make the file."""


def _ways() -> dict[str, list[Declared]]:
    """Return the ways to declare each color space, by the name of the row."""
    srgb, hdr = arithmetic.srgb_decode, ("PQ", "HLG")
    curves: dict[str, Decode] = {
        "sRGB": srgb,
        "P3": srgb,
        "BT.2020": arithmetic.bt709_decode,
        "Adobe RGB": arithmetic.power_decode(563 / 256),
    }
    found: dict[str, list[Declared]] = {}
    for name, curve in curves.items():
        found[f"{name}, ICC profile (6 formats)"] = [*_profiled(name, curve)]
        if name in CODE_POINTS:
            found[f"{name}, cICP (PNG of 8 and 16 bits)"] = [
                _png(_sdr(name, curve), depth, files.cicp(*CODE_POINTS[name])) for depth in (8, 16)
            ]
            found[f"{name}, nclx (AVIF, HEIF)"] = [*_boxed(_sdr(name, curve), *CODE_POINTS[name])]
        for gamma in (45_455, 100_000):
            expect = _sdr(name, arithmetic.power_decode(100_000 / gamma))
            depths = (8, 16) if gamma == 45_455 else (16,)
            found[f"{name}, gAMA {gamma:,} + cHRM (PNG of {' and '.join(map(str, depths))} bits)"] = [
                _png(expect, depth, files.gama(gamma), files.chrm(name)) for depth in depths
            ]
    for transfer, code in zip(hdr, (16, 18), strict=True):
        found[f"{transfer}, cICP (PNG of 8 and 16 bits)"] = [
            _png(_hdr(transfer), depth, files.cicp(9, code)) for depth in (8, 16)
        ]
        found[f"{transfer}, nclx (AVIF, HEIF of 8 and 10 bits)"] = [*_boxed(_hdr(transfer), 9, code)]
    for peak in (400, 4000):
        found[f"PQ, cICP + cLLI {peak} cd/m²"] = [_png(_hdr("PQ", peak), 16, files.cicp(9, 16), files.clli(peak))]
        found[f"PQ, cICP + mDCV {peak} cd/m²"] = [_png(_hdr("PQ", peak), 16, files.cicp(9, 16), files.mdcv(peak))]
    return found


def _sdr(primaries: str, decode: Decode) -> Callable[[Triple], Triple]:
    """Return the arithmetic of a space with a curve."""
    return lambda v: arithmetic.from_light((decode(v[0]), decode(v[1]), decode(v[2])), primaries)


def _hdr(transfer: str, peak: float = 1000.0) -> Callable[[Triple], Triple]:
    """Return the arithmetic of PQ or HLG."""
    return lambda v: arithmetic.from_hdr(v, transfer, peak)


def _png(expect: Callable[[Triple], Triple], depth: int, *chunks: bytes) -> Declared:
    """Declare by chunks."""

    def make(size: tuple[int, int], samples: files.Samples) -> bytes:
        return files.png(size, samples if depth == 16 else _to_8_bits(samples), *chunks, depth=depth)

    return Declared("PNG", make, expect, depth)


def _profiled(name: str, curve: Decode) -> Iterator[Declared]:
    """Declare by a profile in each format."""
    profile = files.profile(name, curve)
    options: dict[str, dict[str, object]] = {
        "PNG": {},
        "TIFF": {},
        "WEBP": {"lossless": True},
        "JPEG": {"quality": 100, "subsampling": 0},
        "AVIF": {"quality": 100, "subsampling": "4:4:4", "speed": 10},
    }
    for kind, extra in options.items():

        def make(size: tuple[int, int], samples: files.Samples, kind: str = kind, extra: dict = extra) -> bytes:  # type: ignore[type-arg]
            packed = io.BytesIO()
            files.image_of(size, _to_8_bits(samples)).save(packed, kind, icc_profile=profile, **extra)
            return packed.getvalue()

        yield Declared(kind, make, _sdr(name, curve))

    def heif(size: tuple[int, int], samples: files.Samples) -> bytes:
        image = files.image_of(size, _to_8_bits(samples))
        image.info["icc_profile"] = profile
        return files.heif(image)

    yield Declared("HEIF", heif, _sdr(name, curve))


def _boxed(expect: Callable[[Triple], Triple], primaries: int, transfer: int) -> Iterator[Declared]:
    """Declare by the nclx box; HDR also with 10 bits."""
    yield Declared(
        "AVIF",
        lambda size, samples: files.avif(files.image_of(size, _to_8_bits(samples)), primaries, transfer),
        expect,
    )
    yield Declared(
        "HEIF",
        lambda size, samples: files.heif(files.image_of(size, _to_8_bits(samples)), primaries, transfer),
        expect,
    )
    if transfer in {16, 18}:
        yield Declared("HEIF", lambda size, samples: files.heif16(size, samples, primaries, transfer), expect, 16)


def _to_8_bits(samples: files.Samples) -> list[tuple[int, int, int]]:
    """Round 16-bit samples to 8 bits."""
    return [(round(r / 257), round(g / 257), round(b / 257)) for r, g, b in samples]


def _samples(what: str, size: float) -> list[tuple[int, int, int]]:
    """Return 16-bit samples of patches inside sRGB, then a gray ramp of 256 steps."""
    steps = max(3, round(8 * size ** (1 / 3)))
    levels = [i / (steps - 1) for i in range(steps)]
    space = what.partition(",")[0]
    patches = [_encode(space, what, color) for color in product(levels, repeat=3)]
    inside = [patch for patch in patches if patch is not None]
    return inside + [(i * 257, i * 257, i * 257) for i in range(256)]


def _encode(space: str, what: str, color: Triple) -> tuple[int, int, int] | None:
    """Return the samples of an sRGB color in a color space; in HDR its white has 600 cd/m²."""
    light = [arithmetic.srgb_decode(value) for value in color]
    primaries = space if space in arithmetic.TO_XYZ else "BT.2020"
    linear = arithmetic.apply(
        arithmetic.inverse(arithmetic.TO_XYZ[primaries]),
        arithmetic.apply(arithmetic.TO_XYZ["sRGB"], (light[0], light[1], light[2])),
    )
    if min(linear) < -1e-4 or max(linear) > 1 + 1e-4:
        return None
    clipped = [min(max(value, 0.0), 1.0) for value in linear]
    if space == "PQ":
        encoded = [arithmetic.pq_encode(600 * value) for value in clipped]
    else:
        power = 1.0 if "gAMA 100,000" in what else 1 / 2.2
        encoded = [(value if space != "HLG" else 0.6 * value) ** power for value in clipped]
    return round(65535 * encoded[0]), round(65535 * encoded[1]), round(65535 * encoded[2])


def _through_engine(way: Declared, samples: list[tuple[int, int, int]]) -> tuple[list[tuple[int, ...]], list[Triple]]:
    """Return the colors that the rendition shows, and the samples that the source decodes to, for each patch."""
    height = -(-len(samples) // COLUMNS)
    padded = samples + [(0, 0, 0)] * (height * COLUMNS - len(samples))
    wide = [padded[y // PATCH * COLUMNS + x // PATCH] for y in range(height * PATCH) for x in range(COLUMNS * PATCH)]
    size = (COLUMNS * PATCH, height * PATCH)
    if (way.what == "AVIF" and not features.check("avif")) or (way.what == "HEIF" and not HEIF):
        raise _MissingError
    body = way.make(size, wide)
    places = [(i % COLUMNS * PATCH + PATCH // 2, i // COLUMNS * PATCH + PATCH // 2) for i in range(len(samples))]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in.bin").write_bytes(body)
        report = jobs.execute_job(_job(), folder)
        if report["failure"]:
            raise SystemExit(f"{way.what}: {report['failure']['message']}")
        with Image.open(folder / "out") as opened:
            image = opened.convert("RGB")
    shown = [image.getpixel(place) for place in places]
    return shown, [*_decoded(way, body, samples, places)]  # type: ignore[return-value]


def _decoded(
    way: Declared, body: bytes, samples: list[tuple[int, int, int]], places: list[tuple[int, int]]
) -> Iterable[Triple]:
    """Return the samples that a plain decoder gives for a file, from 0 to 1."""
    if way.what == "PNG" and way.depth == 16:
        return [(r / 65535, g / 65535, b / 65535) for r, g, b in samples]
    if way.depth == 16:
        found = pillow_heif.open_heif(io.BytesIO(body), convert_hdr_to_8bit=False)[0]
        data, stride = memoryview(bytes(found.data)).cast("H"), found.stride // 2
        top = 1023 << 6
        pixels = (data[y * stride + 3 * x : y * stride + 3 * x + 3] for x, y in places)
        return [(pixel[0] / top, pixel[1] / top, pixel[2] / top) for pixel in pixels]
    with Image.open(io.BytesIO(body)) as opened:
        image = opened.convert("RGB")
    colors = (image.getpixel(place) for place in places)
    return [(r / 255, g / 255, b / 255) for r, g, b in colors]  # type: ignore[misc]


def _error(expected: Triple, shown: tuple[int, ...]) -> float:
    """Return the difference of a color to the one shown, CIEDE2000."""
    red, green, blue = (value / 255 for value in shown)
    return arithmetic.delta_e_2000(arithmetic.to_lab(expected), arithmetic.to_lab((red, green, blue)))


def _job() -> Job:
    """Build a job that makes a PNG."""
    return Job(
        version=VERSION,
        source="in.bin",
        report="report.json",
        remove=[],
        formats=["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"],
        limits=LIMITS,
        transforms=[],
        renditions=[RenditionJob(name="out", file="out", format="png", options={}, transforms=[])],
    )
