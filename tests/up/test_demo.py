"""The demo (`scripts/demo` without its setup): renditions of a folder of photos, and the report of failures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image

from devstack.demo.photos import SAMPLE_NAMES, sample_photos
from tests.images import image_bytes

ROOT = Path(__file__).parents[2]


def demo(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the demo."""
    argv = [sys.executable, "-m", "devstack", "demo", *map(str, arguments)]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)


def test_the_demo_creates_renditions_and_shows_failures(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    (photos / "with space").mkdir(parents=True)
    (photos / "with space" / "good #1.jpg").write_bytes(image_bytes(400, 300))
    (photos / "with space" / f"{'long' * 20}.jpg").write_text("not an image")
    (photos / "notes.txt").write_text("not a photo")
    result = demo(photos, "--out", out)
    assert result.returncode == 1
    assert "not_an_image" in result.stdout
    assert "the table shows why" in result.stderr
    assert "…" not in result.stdout  # the long name is not truncated
    assert "no recipe matches notes.txt" in result.stdout
    renditions = {path.name for path in (out / "web" / "with space" / "good #1.jpg").iterdir()}
    assert renditions == {"large.webp", "small.avif", "thumb.jpg"}
    with Image.open(out / "contact-sheet.png") as sheet:
        assert sheet.width > 4 * 300
        assert sheet.height > 2 * 220


def test_a_recipe_without_match_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(image_bytes(500, 500))
    result = demo(tmp_path, "--recipe", "tutorial", "--out", tmp_path / "out")
    assert (result.returncode, result.stderr) == (0, "")
    with Image.open(tmp_path / "out/tutorial/a.jpg/cropped.jpg") as cropped:
        assert cropped.size == (300, 300)


def test_invalid_arguments_are_rejected_before_the_stack_starts(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    for arguments, part in [
        ((tmp_path / "nowhere",), "is not a folder"),
        ((tmp_path, "--recipe", "tutorail"), "did you mean 'tutorial'"),
        ((tmp_path, "--out", tmp_path / "a.jpg"), "name another folder with --out"),
        ((tmp_path, "--out", "/proc/renditions"), "name another folder with --out"),
    ]:
        result = demo(*arguments)
        assert result.returncode == 1
        assert part in result.stderr
        assert "Traceback" not in result.stderr


def test_the_sample_photos_are_downloaded_once() -> None:
    first = sample_photos().usable
    times = [photo.path.stat().st_ctime_ns for photo in first]
    assert [photo.name for photo in first] == sorted(SAMPLE_NAMES)
    assert [photo.path.stat().st_ctime_ns for photo in sample_photos().usable] == times
