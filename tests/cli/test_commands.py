"""The command line, as a person or a script calls it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.images import form, picture, sides

ROOT = Path(__file__).parents[2]


def pipeline(*arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command with nothing of this process's settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PIPELINE_", "IMAGES"))}
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *map(str, arguments)],
        cwd=ROOT,
        env={**clean, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_shipped_recipes_are_right() -> None:
    told = pipeline("recipes", "check")
    assert (told.returncode, "web, tutorial" in told.stdout) == (0, True)


def test_the_recipe_file_of_the_settings_is_the_same_from_every_folder(tmp_path: Path) -> None:
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "PIPELINE_RECIPES": "recipes.yaml"}
    command = [sys.executable, "-m", "pipeline", "recipes", "check"]
    told = subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True, timeout=60, check=False)
    assert (told.returncode, told.stderr) == (0, "")
    (tmp_path / "mine.yaml").write_text("recipes: {mine: {renditions: {a: {format: webp}}}}")
    command += ["--file", "mine.yaml"]
    told = subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True, timeout=60, check=False)
    assert told.stdout == "1 recipe is right: mine\n"


def test_a_typo_in_a_recipe_is_told_with_its_place_and_the_right_word(tmp_path: Path) -> None:
    file = tmp_path / "recipes.yaml"
    file.write_text("recipes:\n  web:\n    renditions:\n      a: {format: webp, qualty: 80}\n")
    told = pipeline("recipes", "check", "--file", file)
    assert told.returncode == 1
    assert f"{file}:4:" in told.stderr
    assert "did you mean 'quality'" in told.stderr
    assert "Traceback" not in told.stderr


def test_explain_shows_exactly_what_a_session_gets() -> None:
    told = pipeline("recipes", "explain", "tutorial", "--code").stdout
    assert "crop: box 100,100,400,400" in told
    assert '.engine").main("DOCUMENT", "/mnt/data")' in told
    assert '"name": "crop"' in told


def test_an_unknown_recipe_is_told_with_the_nearest_one() -> None:
    told = pipeline("recipes", "explain", "tutoral")
    assert (told.returncode, "tutorial" in told.stderr) == (1, True)


def test_the_schema_for_editors_is_the_one_in_the_repository() -> None:
    assert pipeline("recipes", "schema").stdout == (ROOT / "recipes.schema.json").read_text()


def test_every_transform_is_listed_with_an_example() -> None:
    told = pipeline("transforms").stdout
    assert all(f"\n{name}" in f"\n{told}" for name in ("crop", "resize", "watermark", "code"))


def test_a_preview_runs_in_a_session_and_draws_a_sheet(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(picture(640, 480))
    told = pipeline("preview", "tutorial", photo, "--out", tmp_path / "out")
    assert told.returncode == 0, told.stderr
    made = (tmp_path / "out" / "tutorial" / "photo.jpg" / "cropped.jpg").read_bytes()
    assert (form(made), sides(made)) == ("JPEG", (300, 300))
    assert sides((tmp_path / "out" / "contact-sheet.png").read_bytes())[0] > 300


def test_a_preview_of_something_else_says_which_file_is_wrong(tmp_path: Path, session_pool: str) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"not an image at all")
    told = pipeline("preview", "tutorial", photo, "--out", tmp_path, PIPELINE_POOL_ENDPOINT=session_pool)
    assert (told.returncode, "photo.jpg" in told.stderr, "Traceback" in told.stderr) == (1, True, False)


def test_pictures_that_are_called_the_same_are_previewed_side_by_side(tmp_path: Path, session_pool: str) -> None:
    for folder, seed in (("mine", 1), ("yours", 90)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jpg").write_bytes(picture(640, 480, seed=seed))
    photos = [tmp_path / "mine" / "a.jpg", tmp_path / "mine" / ".." / "yours" / "a.jpg"]
    told = pipeline("preview", "tutorial", *photos, "--out", tmp_path / "out", PIPELINE_POOL_ENDPOINT=session_pool)
    assert told.returncode == 0, told.stderr
    made = [tmp_path / "out" / "tutorial" / folder / "a.jpg" / "cropped.jpg" for folder in ("mine", "yours")]
    assert made[0].read_bytes() != made[1].read_bytes()


@pytest.mark.parametrize("out", ["taken", "taken/below"])
def test_a_folder_that_cannot_be_made_is_told_without_a_traceback(tmp_path: Path, session_pool: str, out: str) -> None:
    (tmp_path / "taken").write_text("a file")
    (tmp_path / "a.jpg").write_bytes(picture(640, 480))
    told = pipeline(
        "preview", "tutorial", tmp_path / "a.jpg", "--out", tmp_path / out, PIPELINE_POOL_ENDPOINT=session_pool
    )
    assert (told.returncode, told.stderr.startswith(f"file: {tmp_path / out}")) == (1, True), told.stderr
    assert "Traceback" not in told.stderr


def test_missing_settings_are_listed_without_a_traceback() -> None:
    told = pipeline("init")
    assert (told.returncode, told.stdout) == (1, "")
    assert "PIPELINE_POOL_ENDPOINT is not set" in told.stderr
    assert "set -a; . .devstack/env; set +a" in told.stderr
    assert "Traceback" not in told.stderr


def test_init_makes_what_is_missing_and_can_be_repeated(environ: dict[str, str]) -> None:
    first, second = pipeline("init", **environ), pipeline("init", **environ)
    assert (first.returncode, second.returncode) == (0, 0)
    assert environ["PIPELINE_INPUT_CONTAINER"] in first.stdout
    assert "nothing to create" in second.stdout
