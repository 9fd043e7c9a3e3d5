"""Compare our encoders with sharp's on photos: bytes, SSIMULACRA2 and processor time.

    python -m benchmarks.quality.encoders --fetch        # download photos and sharp into .cache/benchmarks
    python -m benchmarks.quality.encoders                # the figures, and the table of bytes and quality
    python -m benchmarks.quality.encoders --photos DIR   # the same on your own photos
    python -m benchmarks.quality.encoders --calibrate    # quality values of equal score, on the photos for calibration

The figures are measured on photos that were not used for calibration. Both encoders get decoded pixels. Processor time
is that of the whole process during the encodes, with all its threads.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from PIL import Image, features

from benchmarks.quality import photos
from benchmarks.quality.nearest_quality import nearest
from benchmarks.quality.ssimulacra2 import Reference
from benchmarks.table import HEAD, Row, at_most
from pipeline.engine.encode.equal_quality import equal_quality
from pipeline.engine.encode.formats import Avif, Format, Jpeg, Webp

SHARP = "0.35.5"
"""Version of sharp on npm that `--fetch` installs."""

QUALITIES = (50, 65, 80, 90)
"""Qualities of JPEG at which the other formats must agree."""

CALIBRATED = (40, 50, 65, 80, 90, 95)
"""Qualities of JPEG for which `--calibrate` searches equal values."""

"""Points of the score by which a step of the quality changes it at least, for the size of the search's steps."""

CURVE = (-10, -2, 6)
"""Qualities of sharp's AVIF, relative to our default, between which its score at our bytes is interpolated."""

MEASURED_SIDE = 480
"""Pixels of the longer side of the photos, for the calibration and for the figures."""

MAX_DIFFERENCE = 1.5
MAX_LOSS = 1.0
MAX_TIMES = 1.5

SCRIPT = """
const sharp = require('sharp'), fs = require('fs')
const {images, format, options} = JSON.parse(fs.readFileSync(process.argv[2]))
sharp.cache(false); sharp.concurrency(1)
const encode = ({file, width, height}) =>
  sharp(fs.readFileSync(file), {raw: {width, height, channels: 3}})[format](options).toBuffer()
const main = async () => {
  await sharp({create: {width: 64, height: 64, channels: 3, background: 'red'}})[format](options).toBuffer()
  let micros = 0
  for (const image of images) {
    const before = process.cpuUsage()
    const data = await encode(image)
    const used = process.cpuUsage(before)
    micros += used.user + used.system
    fs.writeFileSync(image.out, data)
  }
  console.log(JSON.stringify({seconds: micros / 1e6, versions: sharp.versions}))
}
main()
"""

Images = Mapping[str, Image.Image]


@dataclass(frozen=True)
class Encoder:
    """Encoder with its settings. `encode` returns the files by image, and the processor seconds."""

    name: str
    encode: Callable[[Images], tuple[dict[str, bytes], float]]


@dataclass(frozen=True)
class Result:
    """The files of one encoder for a set of images: sizes and scores by image, and processor seconds."""

    sizes: dict[str, int]
    scores: dict[str, float]
    seconds: float

    @property
    def total(self) -> int:
        """Return the sum of the sizes in bytes."""
        return sum(self.sizes.values())

    @property
    def mean(self) -> float:
        """Return the mean score."""
        return statistics.fmean(self.scores.values())

    def line(self, name: str) -> str:
        """Return a line of the table of bytes and quality."""
        low, high = min(self.scores.values()), max(self.scores.values())
        return f"{name:<46}{self.total:>12,}{self.mean:>8.2f}{low:>8.1f}{high:>8.1f}{self.seconds:>9.2f}"


LINE = f"{'':<46}{'bytes':>12}{'mean':>8}{'lowest':>8}{'highest':>8}{'CPU s':>9}"


class Judge:
    """Scores of encoded files against their originals. Originals are prepared once, and each encoder runs once."""

    def __init__(self, images: Images) -> None:
        """Prepare the originals."""
        self.images = images
        self._references = {name: Reference(image) for name, image in images.items()}
        self._results: dict[str, Result] = {}

    def result(self, encoder: Encoder) -> Result:
        """Encode all images, and score the files; return the known result of an encoder with the same name."""
        if encoder.name not in self._results:
            files, seconds = encoder.encode(self.images)
            scores = {name: self._references[name].score(_decoded(data)) for name, data in files.items()}
            sizes = {name: len(data) for name, data in files.items()}
            self._results[encoder.name] = Result(sizes, scores, seconds)
        return self._results[encoder.name]


def _decoded(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


def ours(kind: Format) -> Encoder:
    """Return the engine's encoder."""

    def encode(images: Images) -> tuple[dict[str, bytes], float]:
        kind.encode([Image.new("RGB", (64, 64), "red")])  # load the library
        before = time.process_time()
        files = {name: kind.encode([image]) for name, image in images.items()}
        return files, time.process_time() - before

    return Encoder(_label(kind.name, kind, type(kind)()), encode)


def _label(name: str, kind: Format, default: Format) -> str:
    """Name a format with its quality, and with the options that differ from their defaults."""
    options = {field.name: (getattr(kind, field.name), getattr(default, field.name)) for field in fields(kind)}
    quality, _ = options.pop("quality")
    changed = [f"{option} {value}" for option, (value, usual) in options.items() if value != usual]
    return ", ".join([f"{name} {quality}", *changed])


def pillow(**options: Any) -> Encoder:  # noqa: ANN401 - options of Pillow's encoders
    """Return the encoder of bare Pillow."""

    def encode(images: Images) -> tuple[dict[str, bytes], float]:
        before, files = time.process_time(), {}
        for name, image in images.items():
            buffer = io.BytesIO()
            image.save(buffer, **options)
            files[name] = buffer.getvalue()
        return files, time.process_time() - before

    return Encoder("Pillow alone: " + " ".join(map(str, options.values())), encode)


def sharp(folder: Path, kind: str, **options: Any) -> Encoder:  # noqa: ANN401 - options of sharp
    """Return the encoder of sharp, which runs in a process of its own."""

    def encode(images: Images) -> tuple[dict[str, bytes], float]:
        script = folder / "sharp" / "encode.cjs"
        script.write_text(SCRIPT)
        with tempfile.TemporaryDirectory() as scratch:
            jobs: list[dict[str, Any]] = []
            for name, image in images.items():
                raw, out = Path(scratch, f"{name}.raw"), Path(scratch, f"{name}.out")
                raw.write_bytes(image.tobytes())
                jobs.append({"file": str(raw), "out": str(out), "width": image.width, "height": image.height})
            task = Path(scratch, "task.json")
            task.write_text(json.dumps({"images": jobs, "format": kind, "options": options}))
            done = subprocess.run(["node", str(script), str(task)], stdout=subprocess.PIPE, check=True)
            files = {name: Path(job["out"]).read_bytes() for name, job in zip(images, jobs, strict=True)}
        return files, float(json.loads(done.stdout)["seconds"])

    quality, *others = options.values()
    return Encoder(f"sharp: {kind} {quality}" + (", mozjpeg" if others else ""), encode)


def has_sharp(folder: Path) -> bool:
    """Return True when Node.js and sharp are there."""
    return shutil.which("node") is not None and (folder / "sharp" / "node_modules" / "sharp").is_dir()


def fetch(folder: Path) -> None:
    """Download the photos and sharp."""
    print(f"{photos.fetch(folder)} photos were written")
    target = folder / "sharp"
    target.mkdir(parents=True, exist_ok=True)
    (target / "package.json").write_text('{"private": true}\n')
    subprocess.run(["npm", "install", "--silent", f"sharp@{SHARP}"], cwd=target, check=True)


def rows(size: float) -> Iterator[Row]:
    """Measure the figures, and print the table of bytes and quality below them.

    `size` scales the number of photos, and the pixels of the large upload.
    """
    measured = judge(size)
    yield from figures(measured, size, photos.FOLDER)
    show("photos", measured, photos.FOLDER)
    show("generated", Judge(photos.generated()), photos.FOLDER)


def judge(size: float = 1.0, folder: Path = photos.FOLDER, own: Path | None = None) -> Judge:
    """Prepare the photos on which the figures are measured: those of the folder `own`, if there is one."""
    images = photos.own(own) if own else photos.load(photos.HELD_OUT, folder, MEASURED_SIDE)
    return Judge(dict(list(images.items())[: max(2, round(len(images) * size))]))


def figures(judge: Judge, size: float, folder: Path) -> Iterator[Row]:
    """Measure the figures on these photos."""
    if not judge.images or not has_sharp(folder):
        what = "photos and sharp: benchmarks.quality.encoders --fetch"
        yield Row(what, "not measured", "", "", "", met=False)
        return
    yield from calibration_rows(judge)
    yield from avif_rows(judge, folder)
    yield large_upload(size, folder)


def calibration_rows(judge: Judge) -> Iterator[Row]:
    """Compare the mean score of each format with that of JPEG, at the values that `auto` and `keep` use."""
    for quality in QUALITIES:
        jpeg = judge.result(ours(Jpeg(quality=quality))).mean
        for kind in (Webp, Avif):
            other = equal_quality(kind.name, quality)
            mean = judge.result(ours(kind(quality=other))).mean
            what = f"mean score: {kind.name} {other} against JPEG {quality}, {len(judge.images)} photos"
            difference = mean - jpeg
            goal = f"within {MAX_DIFFERENCE:g} points"
            yield Row(what, f"{mean:.2f}", f"{jpeg:.2f}", f"{difference:+.2f}", goal, abs(difference) <= MAX_DIFFERENCE)


def avif_rows(judge: Judge, folder: Path) -> Iterator[Row]:
    """Compare AVIF at our default with sharp's at the same bytes, photo by photo, and both in processor time."""
    default = Avif()
    mine = judge.result(ours(default))
    curve = [judge.result(sharp(folder, "avif", quality=default.quality + step)) for step in CURVE]
    theirs = statistics.fmean(
        _score_at(mine.sizes[name], [(each.sizes[name], each.scores[name]) for each in curve]) for name in judge.images
    )
    loss = theirs - mine.mean
    what = f"score: AVIF {default.quality} against sharp {SHARP} (4:4:4, effort 4) at the same bytes"
    goal = f"at most {MAX_LOSS:g} point less"
    yield Row(what, f"{mine.mean:.2f}", f"{theirs:.2f}", f"{-loss:+.2f}", goal, loss <= MAX_LOSS)
    yield at_most("  its processor time", mine.seconds, curve[1].seconds, "s", MAX_TIMES)


def _score_at(size: int, curve: list[tuple[int, float]]) -> float:
    """Interpolate a score over the logarithm of the size; beyond the ends, continue the nearest piece."""
    points = sorted((math.log(each), score) for each, score in curve)
    place = next((index for index, (x, _) in enumerate(points[1:-1], 1) if math.log(size) <= x), len(points) - 1)
    (x0, y0), (x1, y1) = points[place - 1], points[place]
    return y0 + (y1 - y0) * (math.log(size) - x0) / (x1 - x0)


def large_upload(size: float, folder: Path) -> Row:
    """Compare the processor time of one AVIF of 4 megapixels, the largest that our default encodes at speed 5."""
    side = math.sqrt(size)
    image = {"upload": photos.detail((round(2000 * side), round(2000 * side)))}
    quality = Avif().quality
    _, mine = ours(Avif()).encode(image)
    _, theirs = sharp(folder, "avif", quality=quality).encode(image)
    megapixels = image["upload"].width * image["upload"].height / 1e6
    return at_most(
        f"processor time: one AVIF of {megapixels:.1f} megapixels, against sharp", mine, theirs, "s", MAX_TIMES
    )


def encoders(folder: Path) -> Iterator[Encoder]:
    """Yield the encoders of the table of bytes and quality."""
    for quality in QUALITIES:
        yield ours(Jpeg(quality=quality))
        yield ours(Webp(quality=equal_quality("webp", quality)))
        yield ours(Avif(quality=equal_quality("avif", quality)))
    default = Avif()
    yield ours(default)
    yield ours(Avif(speed=6))
    yield ours(Avif(speed=8))
    yield ours(Avif(speed=6, subsampling="4:2:0"))
    yield ours(Jpeg(subsampling="4:4:4"))
    yield pillow(format="JPEG", quality=80, subsampling="4:2:0", progressive=True)
    yield ours(Webp())
    if has_sharp(folder):
        yield sharp(folder, "jpeg", quality=80)
        yield sharp(folder, "jpeg", quality=80, mozjpeg=True)
        yield sharp(folder, "webp", quality=80)
        for step in CURVE:
            yield sharp(folder, "avif", quality=default.quality + step)


def show(group: str, judge: Judge, folder: Path) -> None:
    """Print the table of bytes and quality for a group of images."""
    if not judge.images:
        return
    print(f"\n{group}: {len(judge.images)} images\n{LINE}")
    for encoder in {each.name: each for each in encoders(folder)}.values():
        print(judge.result(encoder).line(encoder.name), flush=True)


def calibrate(judges: Sequence[Judge]) -> bool:
    """Print the quality of WebP and AVIF whose mean score is nearest to that of JPEG. All judges weigh the same.

    Return True when these are the values that `auto` and `keep` use.
    """

    def mean(kind: Format) -> float:
        return statistics.fmean(judge.result(ours(kind)).mean for judge in judges)

    print(f"{'JPEG':>8}{'score':>8}" + "".join(f"{kind.name:>8}{'score':>8}" for kind in (Webp, Avif)))
    same = True
    known: dict[type[Webp | Avif], dict[int, float]] = {Webp: {}, Avif: {}}
    for quality in CALIBRATED:
        aim = mean(Jpeg(quality=quality))
        line = f"{quality:>8}{aim:>8.2f}"
        for kind, scores in known.items():
            used = equal_quality(kind.name, quality)
            best = nearest(aim, scores, lambda each, kind=kind: mean(kind(quality=each)), used)  # type: ignore[misc]
            line += f"{best:>8}{scores[best]:>8.2f}" + ("" if best == used else f" (used: {used})")
            same &= best == used
        print(line, flush=True)
    return same


def main() -> None:
    """Parse the command line, measure, and exit with 1 if a goal is missed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality.encoders", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--fetch", action="store_true", help="download the photos and sharp")
    parser.add_argument("--calibrate", action="store_true", help="print quality values of equal score")
    parser.add_argument("--photos", type=Path, help="measure on the images of this folder")
    parser.add_argument("--folder", type=Path, default=photos.FOLDER, help="folder of the downloads")
    parser.add_argument("--size", type=float, default=1.0, help="scale of the number of photos")
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    if options.fetch:
        fetch(folder)
        return
    if options.calibrate:
        groups = (
            [photos.own(options.photos)]
            if options.photos
            else [photos.load(group, folder, MEASURED_SIDE) for group in photos.CALIBRATION]
        )
        raise SystemExit(0 if calibrate([Judge(group) for group in groups]) else 1)
    print(HEAD)
    met = True
    measured = judge(options.size, folder, options.photos)
    for row in figures(measured, options.size, folder):
        print(row, flush=True)
        met &= row.met
    show("photos", measured, folder)
    show("generated", Judge(photos.generated()), folder)
    print(f"\n{versions()}, sharp {SHARP}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    raise SystemExit(0 if met else 1)


def versions() -> str:
    """Return the versions of Pillow and its encoders."""
    named = {"Pillow": "pil", "libjpeg-turbo": "libjpeg_turbo", "libwebp": "webp", "libavif": "avif"}
    return ", ".join(f"{name} {features.version(part)}" for name, part in named.items())


if __name__ == "__main__":
    main()
