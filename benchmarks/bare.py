"""Baseline: Pillow alone, well written. Files to files, one decode, largest rendition first."""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image, ImageOps


def renditions(source: Path, recipe: str, numbers: range) -> None:
    """Create the renditions of a benchmark recipe, once for each number."""
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            (_heavy if recipe == "heavy" else _light)(source, Path(folder, str(number)))


def _heavy(source: Path, target: Path) -> None:
    with Image.open(source) as image:
        image.draft("RGB", (1600, 1600))
        large = ImageOps.exif_transpose(image).convert("RGB")
    for side in (1600, 800, 400):
        large.thumbnail((side, 10000), Image.Resampling.LANCZOS)
        large.save(target.with_suffix(f".{side}.webp"), quality=80)


def _light(source: Path, target: Path) -> None:
    with Image.open(source) as image:
        whole = ImageOps.exif_transpose(image).convert("RGB")
    whole.crop((50, 0, 350, 300)).save(target.with_suffix(".jpg"), quality=80)
