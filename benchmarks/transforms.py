"""Compare the engine to bare Pillow and sharp: processor time and peak memory for the same renditions.

    python -m benchmarks.transforms [PHOTO …] [--rounds N] [--sharp FOLDER]

Without photos the program generates a 12-megapixel image. Variants take turns, each in its own warm process, and the
figures are medians. `--sharp` names a folder with sharp installed by `npm install sharp`. "by hand" is careful Pillow
code for exactly this task; "obvious" opens and resizes the image for each rendition.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageFilter

from pipeline.engine.execution import jobs
from pipeline.engine.protocol import VERSION, Job, Limits, RenditionJob, Step

SIDES = (1600, 800, 400)
LIMITS = Limits(max_pixels=10**9, max_frames=1000, max_rendition_bytes=10**9, max_rendition_pixels=10**9)
ROOT = Path(__file__).resolve().parents[1]


def _job(*renditions: RenditionJob, shared: list[Step] | None = None) -> Job:
    return Job(
        version=VERSION,
        source="in.bin",
        report="report.json",
        remove=[],
        formats=["JPEG"],
        limits=LIMITS,
        transforms=shared or [],
        renditions=list(renditions),
    )


def _rendition(name: str, kind: str, steps: list[Step], options: dict[str, object], **output: object) -> RenditionJob:
    return RenditionJob(name=name, file=name, format=kind, options=options, transforms=steps, output=dict(output))


def _by_engine(photo: Path, folder: Path, job: Job) -> None:
    (folder / "in.bin").symlink_to(photo)  # the engine deletes it
    report = jobs.execute_job(job, folder)
    if report["failure"]:
        raise SystemExit(report["failure"]["message"])


def _web(*, first: list[Step] | None = None) -> Job:
    sizes = [
        _rendition(str(side), "webp", [Step(name="resize", params={"width": side})], {"quality": 80}) for side in SIDES
    ]
    return _job(*sizes, shared=first)


def web_engine(photo: Path, folder: Path) -> None:
    """Create three WebP renditions with the engine."""
    _by_engine(photo, folder, _web())


def web_by_hand(photo: Path, folder: Path) -> None:
    """Decode once at half size, and create each rendition from the previous one."""
    with Image.open(photo) as image:
        image.draft("RGB", (SIDES[0], round(image.height * SIDES[0] / image.width)))
        image.load()
        current: Image.Image = image
        for side in SIDES:
            size = (side, round(current.height * side / current.width))
            current = current.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
            current.save(folder / f"{side}.webp", quality=80)


def web_obvious(photo: Path, folder: Path) -> None:
    """Open and resize the image for each rendition."""
    for side in SIDES:
        with Image.open(photo) as image:
            small = image.resize((side, round(image.height * side / image.width)), Image.Resampling.LANCZOS)
        small.save(folder / f"{side}.webp", quality=80)


def smart_engine(photo: Path, folder: Path) -> None:
    """Create three WebP renditions with the engine after a smart crop to 16:9."""
    _by_engine(photo, folder, _web(first=[Step(name="crop", params={"aspect": "16:9", "gravity": "smart"})]))


def center_engine(photo: Path, folder: Path) -> None:
    """Create three WebP renditions with the engine after a centered crop to 16:9."""
    _by_engine(photo, folder, _web(first=[Step(name="crop", params={"aspect": "16:9"})]))


def _small(gravity: str) -> Job:
    params = {"width": 300, "height": 300, "mode": "cover", "gravity": gravity}
    return _job(_rendition("out", "jpeg", [Step(name="resize", params=params)], {}))


def small_smart_engine(photo: Path, folder: Path) -> None:
    """Create one JPEG of 300 pixels with the engine and a smart crop."""
    _by_engine(photo, folder, _small("smart"))


def small_center_engine(photo: Path, folder: Path) -> None:
    """Create one JPEG of 300 pixels with the engine and a centered crop."""
    _by_engine(photo, folder, _small("center"))


def crop_engine(photo: Path, folder: Path) -> None:
    """Crop like the tutorial, with the engine."""
    step = Step(name="crop", params={"box": [100, 100, 400, 400]})
    options: dict[str, object] = {"quality": 90, "progressive": False, "optimize": False}
    _by_engine(photo, folder, _job(_rendition("out", "jpeg", [step], options)))


def crop_by_hand(photo: Path, folder: Path) -> None:
    """Crop like the tutorial, with bare Pillow."""
    with Image.open(photo) as image:
        image.crop((100, 100, 400, 400)).save(folder / "out.jpg", quality=90)


VARIANTS: dict[str, Callable[[Path, Path], None]] = {
    name: globals()[name]
    for name in (
        "web_engine",
        "web_by_hand",
        "web_obvious",
        "center_engine",
        "smart_engine",
        "small_center_engine",
        "small_smart_engine",
        "crop_engine",
        "crop_by_hand",
    )
}

SHARP = """
const sharp = require('sharp'), [photo, folder, task, times] = process.argv.slice(2)
sharp.cache(false); sharp.concurrency(1)
const area = {left: 100, top: 100, width: 300, height: 300}
const web = async () => {
  for (const side of [1600, 800, 400])
    await sharp(photo).rotate().resize(side).webp({quality: 80}).toFile(`${folder}/${side}.webp`)
}
const crop = () => sharp(photo).extract(area).jpeg({quality: 90}).toFile(`${folder}/out.jpg`)
const main = async () => {
  const seconds = []
  for (let i = 0; i <= times; i++) {
    const before = process.cpuUsage()
    await (task === 'web' ? web() : crop())
    const used = process.cpuUsage(before)
    seconds.push((used.user + used.system) / 1e6)
  }
  console.log(JSON.stringify([seconds.slice(1), process.resourceUsage().maxRSS / 1024]))
}
main()
"""


def made_up(file: Path) -> None:
    """Return a 12-megapixel JPEG with detail at all scales, like a photo."""
    image = Image.new("RGB", (4000, 3000), (128, 128, 128))
    for scale, weight in ((1000, 0.5), (250, 0.4), (60, 0.3), (12, 0.2), (3, 0.12)):
        small = (4000 // scale, 3000 // scale)
        bands = [Image.effect_noise(small, 110).filter(ImageFilter.GaussianBlur(0.6)) for _ in range(3)]
        layer = Image.merge("RGB", bands).resize(image.size, Image.Resampling.BICUBIC)
        image = Image.blend(image, layer, weight)
    image.save(file, quality=88)


def one(name: str, photo: Path, folder: Path, times: int) -> None:
    """Execute a variant in this process, once to warm up and then `times` times. Print seconds and peak memory."""
    seconds = []
    for _ in range(times + 1):
        before = time.process_time()
        VARIANTS[name](photo, folder)
        seconds.append(time.process_time() - before)
    print(json.dumps([seconds[1:], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def compare(photos: list[Path], rounds: int, sharp: Path | None) -> dict[str, tuple[float, float]]:
    """Return the median processor time (summed over the images) and the peak memory in MB of each variant."""
    python = [sys.executable, "-m", "benchmarks.transforms", "--one"]
    commands = {name: [*python, name] for name in VARIANTS}
    if sharp:
        script = sharp / "pipeline-benchmark.cjs"
        script.write_text(SHARP)
        commands |= {f"{task}_sharp": ["node", str(script)] for task in ("web", "crop")}
    times: dict[str, list[float]] = {name: [] for name in commands}
    peaks: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            figures = [_process(name, command, photo) for photo in photos]
            times[name] += [sum(each) for each in zip(*(seconds for seconds, _ in figures), strict=True)]
            peaks[name].append(max(peak for _, peak in figures))
    return {name: (statistics.median(times[name]), statistics.median(peaks[name])) for name in commands}


def _process(name: str, command: list[str], photo: Path) -> tuple[list[float], float]:
    with tempfile.TemporaryDirectory() as folder:
        task = [name.removesuffix("_sharp"), "3"] if name.endswith("_sharp") else []
        done = subprocess.run([*command, str(photo), folder, *task], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    seconds, peak = json.loads(done.stdout)
    return seconds, peak


RATIOS = (
    ("web_engine", "web_by_hand", "≤ 1.05", 0),
    ("web_obvious", "web_engine", "≥ 2.2", 0),
    ("web_engine", "web_sharp", "≤ 1", 0),
    ("crop_engine", "crop_by_hand", "≤ 1.05", 0),
    ("crop_engine", "crop_sharp", "is told", 0),
    ("smart_engine", "center_engine", "≤ 1.25", 0),
    ("small_smart_engine", "small_center_engine", "≤ 1.25", 0),
    ("web_engine", "web_by_hand", "≤ 1.3", 1),
    ("crop_engine", "crop_by_hand", "≤ 1.3", 1),
)


def show(figures: dict[str, tuple[float, float]]) -> None:
    """Print both tables."""
    print(f"{'variant':16} {'CPU s':>8} {'peak MB':>8}")
    for name, (seconds, peak) in figures.items():
        print(f"{name:16} {seconds:8.3f} {peak:8.0f}")
    print(f"\n{'ratio':34} {'of':7} {'measured':>8}  wanted")
    for mine, other, wanted, what in RATIOS:
        if mine in figures and other in figures:
            ratio = figures[mine][what] / figures[other][what]
            print(f"{mine + ' / ' + other:34} {('CPU', 'memory')[what]:7} {ratio:8.2f}  {wanted}")


def main() -> None:
    """Run the comparison, or a single variant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("photos", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sharp", type=Path)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        made_up(options.make)
        return
    if options.one:
        one(options.one, options.photos[0], options.photos[1], times=3)
        return
    with tempfile.TemporaryDirectory() as folder:
        photos = [photo.resolve() for photo in options.photos]
        if not photos:
            photos = [Path(folder) / "made-up.jpg"]
            # In a process of its own: memory used before a fork counts for the child too.
            subprocess.run(
                [sys.executable, "-m", "benchmarks.transforms", "--make", str(photos[0])], cwd=ROOT, check=True
            )
        figures = compare(photos, options.rounds, options.sharp)
    if options.json:
        print(json.dumps(figures))
    else:
        show(figures)


if __name__ == "__main__":
    main()
