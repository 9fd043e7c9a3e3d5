"""Smart crops: heads that stay whole in drawn scenes, and the cost of the analysis.

`python -m benchmarks.quality.smart_crop --sheet sheet.png [PHOTO …]` draws a contact sheet of crops without and with
face detection, of the photos and of a few scenes.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from unittest.mock import patch

from PIL import Image

from benchmarks.quality.scenes import DARK, LIGHT, Face, Rgb, Scene, make_scene
from benchmarks.table import Row
from devstack.demo.photos import sample_file, sample_photos
from devstack.errors import DevstackError
from devstack.state import ROOT
from pipeline.engine.base import TransformContext
from pipeline.engine.image_view import ImageView
from pipeline.engine.transforms import faces, smart
from pipeline.engine.transforms.crop import Crop

ASPECTS = ("1:1", "9:16", "16:9", "4:5")
SCENES = 200
"""Scenes of each group of skin tones."""

FACE_SIDE = 25
"""Side in pixels of the images in scikit-image's lfw_subset.npy. The first 100 of 200 are photographed faces."""

CROP_LIMIT = 10**9


def rows(size: float) -> Iterable[Row]:
    """Measure whole heads without and with detection, for light and for dark skin, and the processor time."""
    count = max(10, round(SCENES * size))
    yield from _whole_heads("drawn, no detection", count, None, 90, detection=False)
    photographed = photographed_faces()
    if photographed is None or faces.find_faces(Image.new("RGB", (32, 32))) is None:
        missing = "OpenCV and the model" if photographed else "the wheel of scikit-image"
        yield Row(f"whole heads, photographed faces ({missing} missing)", "not measured", "", "", ">= 95 %", met=False)
    else:
        yield from _whole_heads("photographed, detection", count, photographed, 95, detection=True)
        yield from _whole_heads("photographed, no detection", count, photographed, 90, detection=False)
    yield from _costs()


def _whole_heads(what: str, count: int, face: Face | None, least: float, *, detection: bool) -> Iterator[Row]:
    """Measure the share of crops that hold whole heads, among those that can hold all heads of their scene."""
    shares = []
    with nullcontext() if detection else without_detection():
        for tones in (LIGHT, DARK):
            results = [whole for number in range(count) for whole in _crops_of_scene(number, tones, face)]
            shares.append(100 * sum(results) / len(results))
    mean, gap = sum(shares) / 2, abs(shares[0] - shares[1])
    goal = f">= {least:g} %"
    yield Row(f"whole heads, {what}", f"{mean:.1f} %", "", "", goal, mean >= least)
    label = f"light {shares[0]:.1f} %, dark {shares[1]:.1f} %"
    yield Row(f"difference by skin, {what}", label, "", f"{gap:.1f}", "<= 5 points", gap <= 5)


def _crops_of_scene(number: int, tones: Sequence[Rgb], face: Face | None) -> Iterator[bool]:
    """Yield whether each crop of a scene keeps all heads whole, for the crops that can."""
    scene = make_scene(f"benchmark {number}", tones, face)
    for aspect in ASPECTS:
        box = crop_box(scene.image, aspect)
        if box[2:] != scene.image.size or box[:2] != (0, 0):
            width, height = box[2] - box[0], box[3] - box[1]
            left, top, right, bottom = _union(scene)
            if right - left <= width and bottom - top <= height:
                yield box[0] <= left + 1 and box[1] <= top + 1 and box[2] >= right - 1 and box[3] >= bottom - 1


def _union(scene: Scene) -> tuple[float, float, float, float]:
    """Return the box around all heads, inside the image."""
    left, top, right, bottom = zip(*scene.heads, strict=True)
    return max(0, min(left)), max(0, min(top)), min(scene.image.width, max(right)), min(scene.image.height, max(bottom))


def crop_box(image: Image.Image, aspect: str, gravity: str = "smart") -> tuple[int, int, int, int]:
    """Return the box that a crop keeps."""
    step = Crop(aspect=aspect, gravity=gravity)  # type: ignore[arg-type]
    return step.apply(ImageView.from_image(image), TransformContext(CROP_LIMIT)).box


@contextmanager
def without_detection() -> Iterator[None]:
    """Act as a session without OpenCV."""
    with patch.object(smart, "find_faces", return_value=None):
        yield


@cache
def photographed_faces() -> Face | None:
    """Return a function that tints photographed faces with skin tones; None without scikit-image's wheel."""
    try:
        body = sample_file("lfw_subset.npy").read_bytes()
    except DevstackError:
        return None
    start = 10 + int.from_bytes(body[8:10], "little")
    values = array("d", body[start : start + 100 * FACE_SIDE * FACE_SIDE * 8])

    def photographed(dice: random.Random, side: int, tone: Rgb) -> Image.Image:
        at = dice.randrange(100) * FACE_SIDE * FACE_SIDE
        one = values[at : at + FACE_SIDE * FACE_SIDE]
        low, high = min(one), max(one)
        gray = Image.frombytes("L", (FACE_SIDE, FACE_SIDE), bytes(round(255 * (v - low) / (high - low)) for v in one))
        gray = gray.resize((side, side), Image.Resampling.BICUBIC)
        mean = sum(gray.tobytes()) / (side * side)
        # Steep up to the mean and flat above, so that light tones do not become white.
        shades = [level / mean if level < mean else 1 + (level - mean) / (255 - mean) * 0.15 for level in range(256)]
        bands = [gray.point([min(255, round(part * (0.2 + 0.8 * shade))) for shade in shades]) for part in tone]
        return Image.merge("RGB", bands)

    return photographed


def _costs() -> Iterator[Row]:
    """Compare the processor time of whole jobs with smart and with centered crops: the least of nine each."""
    detection = "with" if faces.find_faces(Image.new("RGB", (32, 32))) is not None else "without"
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.jpg"
        make = [sys.executable, "-m", "benchmarks.transforms", "--make", str(photo)]
        subprocess.run(make, cwd=ROOT, check=True)
        for renditions, prefix in (("three WebP", ""), ("one JPEG of 300 pixels", "small_")):
            smart_ms, center_ms = _least_ms(photo, folder, f"{prefix}smart_engine", f"{prefix}center_engine")
            what = f"CPU of a smart job, 12 megapixels, {renditions}, {detection} detection"
            ratio = smart_ms / center_ms
            yield Row(
                what, f"{smart_ms:.0f} ms", f"{center_ms:.0f} ms", f"{ratio:.2f}", "<= 1.25 x center", ratio <= 1.25
            )


def _least_ms(photo: Path, folder: str, *names: str) -> list[float]:
    """Return the least processor time of each variant in milliseconds. The variants take turns."""
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(3):
        for name in names:
            command = [sys.executable, "-m", "benchmarks.transforms", "--one", name, str(photo), folder]
            done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
            times[name] += json.loads(done.stdout)[0]
    return [1000 * min(seconds) for seconds in times.values()]


def draw_sheet(images: Sequence[Image.Image], target: Path, side: int = 190) -> None:
    """Draw the images in rows: the original with the heads, then pairs of crops without and with detection."""
    sheet = Image.new("RGB", (side * 6, (side + 6) * len(images)), "white")
    for row, image in enumerate(images):
        x, y = 0, row * (side + 6)
        for crop in _sheet_row(image, side):
            sheet.paste(crop, (x, y))
            x += crop.width + 6
    sheet.save(target)


def _sheet_row(image: Image.Image, side: int) -> Iterator[Image.Image]:
    """Yield the image with the heads found in it, and its crops."""
    shown = image.copy()
    shown.thumbnail((round(side * 1.4), side))
    yield shown
    for aspect in ASPECTS:
        boxes = [crop_box(image, aspect)]
        with without_detection():
            boxes.insert(0, crop_box(image, aspect))
        for box in boxes:
            crop = image.crop(box)
            crop.thumbnail((side, side // 2 if aspect == "16:9" else side))
            yield crop


def main() -> None:
    """Draw a contact sheet."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.smart_crop", description=__doc__)
    parser.add_argument("photos", nargs="*", type=Path, metavar="PHOTO", help="default: sample photos and scenes")
    parser.add_argument("--sheet", type=Path, required=True, help="PNG to write")
    options = parser.parse_args()
    paths = options.photos or [photo.path for photo in sample_photos().usable]
    images = [Image.open(path).convert("RGB") for path in paths]
    if not options.photos:
        images += [make_scene(f"sheet {number}", LIGHT + DARK, photographed_faces()).image for number in range(12)]
    draw_sheet(images, options.sheet)


if __name__ == "__main__":
    main()
