"""Damage: flip bits and cut files in their pixel data, and count the damage that nothing notices.

A damaged file counts as noticed when its job fails or its rendition is marked. Two goals hold for every format: damage
that Pillow's strict decoder rejects is noticed, and no cut JPEG and no damaged PNG is `done`. For JPEG the table also
shows the share that sharp with `failOn: 'warning'` does not notice. Install it with `npm install sharp` in a folder,
and name the folder in `SHARP_FOLDER` (default: `.cache/benchmarks/sharp`).
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageFilter

from benchmarks.table import Row
from pipeline.engine.execution import jobs
from pipeline.engine.protocol import VERSION, Job, Limits, RenditionJob

FLIPS, CUTS, SEED, SIZE = 200, 100, 15, (160, 120)
LIMITS = Limits(max_pixels=10**8, max_frames=500, max_rendition_bytes=10**8, max_rendition_pixels=10**8)
ROOT = Path(__file__).resolve().parents[2]

Span = tuple[int, int]

SHARP = """
const sharp = require('sharp'), fs = require('fs'), path = require('path'), folder = process.argv[2]
const main = async () => {
  const noticed = []
  for (const name of fs.readdirSync(folder))
    await sharp(path.join(folder, name), {failOn: 'warning'}).raw().toBuffer().catch(() => noticed.push(name))
  console.log(JSON.stringify({noticed, version: sharp.versions.sharp}))
}
main()
"""


@dataclass(frozen=True)
class Kind:
    """A kind of file: its bytes, the parts of it that hold pixels, and whether all damage must be noticed."""

    name: str
    body: bytes
    pixels: list[Span]
    strict: bool = False
    strict_cuts: bool = False

    def places(self) -> list[int]:
        """Return the offsets of all bytes that hold pixels."""
        return [place for start, end in self.pixels for place in range(start, end)]


def photo() -> Image.Image:
    """Draw an image with detail at several scales, the same on every call."""
    chance = random.Random(SEED)
    bands = []
    for _ in range(3):
        layer = Image.new("L", SIZE, 128)
        for scale in (40, 10, 3):
            side = (max(2, SIZE[0] // scale), max(2, SIZE[1] // scale))
            grain = Image.frombytes("L", side, chance.randbytes(side[0] * side[1]))
            layer = Image.blend(layer, grain.resize(SIZE, Image.Resampling.BICUBIC), 0.35)
        bands.append(layer.filter(ImageFilter.GaussianBlur(0.4)))
    return Image.merge("RGB", bands)


def kinds() -> list[Kind]:
    """Encode the image in every kind of file."""
    image = photo()

    def encode(form: str, **options: object) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, form, **options)
        return buffer.getvalue()

    found = [Kind("PNG", png := encode("PNG"), list(_png_pixels(png)), strict=True)]
    turned = [image.rotate(180), image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    animation = encode("PNG", save_all=True, append_images=turned, duration=100)
    found.append(Kind("PNG, animation", animation, list(_png_pixels(animation)), strict=True))
    found.append(Kind("GIF", gif := encode("GIF"), list(_gif_pixels(gif))))
    for name, compression in (("none", "raw"), ("LZW", "tiff_lzw"), ("deflate", "tiff_adobe_deflate")):
        body = encode("TIFF", compression=compression)
        found.append(Kind(f"TIFF, {name}", body, list(_tiff_pixels(body))))
    for name, lossless in (("lossy", False), ("lossless", True)):
        body = encode("WEBP", lossless=lossless)
        found.append(Kind(f"WebP, {name}", body, [(20, len(body))]))
    bmp, avif, jpeg = encode("BMP"), encode("AVIF", speed=8), encode("JPEG", quality=85)
    found.append(Kind("BMP", bmp, [(struct.unpack_from("<I", bmp, 10)[0], len(bmp))]))
    found.append(Kind("AVIF", avif, [(avif.index(b"mdat") + 4, len(avif))]))
    found.append(Kind("JPEG", jpeg, [_jpeg_pixels(jpeg)], strict_cuts=True))
    progressive = encode("JPEG", quality=85, progressive=True)
    found.append(Kind("JPEG, progressive", progressive, [_jpeg_pixels(progressive)], strict_cuts=True))
    restarts = encode("JPEG", quality=85, restart_marker_rows=1)
    found.append(Kind("JPEG, restart markers", restarts, [_jpeg_pixels(restarts)], strict_cuts=True))
    return found


def _png_pixels(body: bytes) -> Iterator[Span]:
    place = 8
    while place < len(body):
        (length,) = struct.unpack_from(">I", body, place)
        if body[place + 4 : place + 8] in (b"IDAT", b"fdAT"):
            yield place + 8, place + 8 + length
        place += length + 12


def _gif_pixels(body: bytes) -> Iterator[Span]:
    """Yield the data blocks behind the first image descriptor of a GIF without a local palette."""
    place = body.index(struct.pack("<BHHHH", 0x2C, 0, 0, *SIZE)) + 11
    while body[place]:
        yield place + 1, place + 1 + body[place]
        place += body[place] + 1


def _tiff_pixels(body: bytes) -> Iterator[Span]:
    with Image.open(io.BytesIO(body)) as image:
        tags = image.tag_v2  # type: ignore[attr-defined]
        yield from ((start, start + length) for start, length in zip(tags[273], tags[279], strict=True))


def _jpeg_pixels(body: bytes) -> Span:
    """Return the pixel data of a JPEG: from the first scan to the end marker."""
    scan = body.index(b"\xff\xda")
    return scan + 2 + int.from_bytes(body[scan + 2 : scan + 4], "big"), len(body) - 2


def flipped(kind: Kind, count: int) -> Iterator[bytes]:
    """Yield copies with one bit of the pixel data changed."""
    chance, places = random.Random(SEED), kind.places()
    for _ in range(count):
        changed = bytearray(kind.body)
        changed[chance.choice(places)] ^= 1 << chance.randrange(8)
        yield bytes(changed)


def cut(kind: Kind, count: int) -> Iterator[bytes]:
    """Yield copies that end within the pixel data."""
    chance, places = random.Random(SEED + 1), kind.places()
    for _ in range(count):
        yield kind.body[: chance.choice(places)]


def rejected(body: bytes) -> bool:
    """Return True when Pillow's strict decoder rejects a frame while nothing has read the metadata before."""
    try:
        with Image.open(io.BytesIO(body)) as image:
            for number in range(getattr(image, "n_frames", 1)):
                image.seek(number)
                image.load()
    except Exception:  # noqa: BLE001 - decoders raise many classes
        return True
    return False


def noticed(body: bytes, folder: Path) -> bool:
    """Return True when the engine refuses a file or marks its rendition."""
    (folder / "in.bin").write_bytes(body)
    rendition = RenditionJob(name="out", file="out", format="png", options={"compression": 1}, transforms=[])
    names = ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "BMP"]
    document = Job(
        version=VERSION,
        source="in.bin",
        report="report.json",
        remove=[],
        formats=names,
        limits=LIMITS,
        transforms=[],
        renditions=[rendition],
    )
    report = jobs.execute_job(document, folder)
    return report["failure"] is not None or "patched" in report["renditions"][0]["extra"]


def sharp_misses(folder: Path, bodies: list[bytes]) -> tuple[int, str] | None:
    """Count the files that sharp decodes without a warning, and return its version; None when it is not installed."""
    if shutil.which("node") is None or not (folder / "node_modules" / "sharp").is_dir():
        return None
    with tempfile.TemporaryDirectory() as place:
        for number, body in enumerate(bodies):
            Path(place, f"{number:04d}.jpg").write_bytes(body)
        script = folder / "pipeline-damage.cjs"
        script.write_text(SHARP)
        done = subprocess.run(["node", str(script), place], capture_output=True, check=True)
    found = json.loads(done.stdout)
    return len(bodies) - len(found["noticed"]), found["version"]


def rows(size: float) -> Iterable[Row]:
    """Measure each kind of file: damage that Pillow rejects and nothing marks, and the share that nothing notices."""
    sharp = Path(os.environ.get("SHARP_FOLDER", ROOT / ".cache" / "benchmarks" / "sharp"))
    with tempfile.TemporaryDirectory() as place:
        for kind in kinds():
            for what, damage, count in (("flips", flipped, FLIPS), ("cuts", cut, CUTS)):
                bodies = list(damage(kind, max(5, round(count * size))))
                yield from _measure(kind, what, bodies, Path(place))
                if what == "flips" and kind.name.startswith("JPEG"):
                    yield _beside_sharp(kind, bodies, sharp)


def _measure(kind: Kind, what: str, bodies: list[bytes], place: Path) -> Iterator[Row]:
    missed = [body for body in bodies if not noticed(body, place)]
    known = sum(map(rejected, missed))
    all_of_them = kind.strict or (kind.strict_cuts and what == "cuts")
    goal = "0 of all" if all_of_them else "0 that Pillow rejects"
    wrong = len(missed) if all_of_them else known
    share = f"{len(missed) / len(bodies):.1%} pass"
    yield Row(f"{kind.name}: {len(bodies)} {what}", f"{wrong} done", share, "", goal, wrong == 0)


def _beside_sharp(kind: Kind, bodies: list[bytes], folder: Path) -> Row:
    found = sharp_misses(folder, bodies)
    name = f"{kind.name}: {len(bodies)} flips, sharp's failOn: warning"
    if found is None:
        return Row(name, "not measured", "", "", "sharp in SHARP_FOLDER", met=False)
    count, version = found
    return Row(name, f"sharp {version}", f"{count / len(bodies):.1%} pass", "", "none: for comparison", met=True)
