"""`scripts/demo` without its set-up: photos of a folder go through, and failures are told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image

from devstack.demo.photos import SAMPLES, samples
from tests.images import picture

ROOT = Path(__file__).parents[2]


def demo(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "devstack", "demo", *map(str, arguments)]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)


def test_photos_come_out_and_what_failed_is_shown_with_its_reason(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    (photos / "with space").mkdir(parents=True)
    (photos / "with space" / "good #1.jpg").write_bytes(picture(400, 300))
    (photos / "with space" / f"{'long' * 20}.jpg").write_text("no picture")
    (photos / "notes.txt").write_text("no photo")
    done = demo(photos, "--out", out)
    assert done.returncode == 1
    assert "not_an_image" in done.stdout
    assert "the table says why" in done.stderr
    assert "…" not in done.stdout  # the long name is whole
    assert "no recipe is for notes.txt" in done.stdout
    made = {path.name for path in (out / "web" / "with space" / "good #1.jpg").iterdir()}
    assert made == {"large.webp", "small.avif", "thumb.jpg"}
    with Image.open(out / "contact-sheet.png") as sheet:
        assert sheet.width > 4 * 300
        assert sheet.height > 2 * 220


def test_a_recipe_that_matches_nothing_by_itself_can_be_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(picture(500, 500))
    done = demo(tmp_path, "--recipe", "tutorial", "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    with Image.open(tmp_path / "out/tutorial/a.jpg/cropped.jpg") as cropped:
        assert cropped.size == (300, 300)


def test_what_cannot_be_shown_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    for arguments, part in [
        ((tmp_path / "nowhere",), "is not a folder"),
        ((tmp_path, "--recipe", "tutorail"), "did you mean 'tutorial'"),
        ((tmp_path, "--out", tmp_path / "a.jpg"), "name another folder with --out"),
        ((tmp_path, "--out", "/proc/renditions"), "name another folder with --out"),
    ]:
        done = demo(*arguments)
        assert done.returncode == 1
        assert part in done.stderr
        assert "Traceback" not in done.stderr


def test_the_sample_photos_are_fetched_once() -> None:
    first = samples()
    times = [photo.path.stat().st_ctime_ns for photo in first]
    assert [photo.name for photo in first] == sorted(SAMPLES)
    assert [photo.path.stat().st_ctime_ns for photo in samples()] == times
