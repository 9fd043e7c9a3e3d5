"""Commands that need no storage: help, recipes, settings, previews; and `init`."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path

import pytest
import typer

from pipeline.cli import COMMANDS, build
from tests.cli.runner import pipeline
from tests.images import detect_format, image_bytes, size

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENDPOINT = {"PIPELINE_POOL_ENDPOINT": "http://127.0.0.1:1"}


def test_declared_dependencies_are_those_of_requirements_in() -> None:
    def names(lines: list[str]) -> set[str]:
        return {match[0] for line in lines if (match := re.match(r"[a-z][\w-]*(\[\w+\])?", line))}

    assert names(PROJECT["dependencies"]) == names((ROOT / "requirements.in").read_text().splitlines())
    development = names((ROOT / "requirements-dev.in").read_text().splitlines())
    assert names(PROJECT["optional-dependencies"]["cli"]) <= development


@pytest.mark.parametrize("name", COMMANDS)
def test_summary_of_a_command_is_the_first_line_of_its_help(name: str) -> None:
    command = typer.main.get_command(build(name)).commands[name]  # type: ignore[attr-defined]
    assert COMMANDS[name][1] == (command.help or "").splitlines()[0]


def test_shipped_recipes_are_valid() -> None:
    result = pipeline("recipes", "check")
    assert (result.exit_code, result.stdout) == (0, "2 recipes valid: web, tutorial\n")


def test_recipe_file_of_the_settings_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert pipeline("recipes", "check", PIPELINE_RECIPES="recipes.yaml").exit_code == 0
    (tmp_path / "mine.yaml").write_text("recipes: {mine: {renditions: {a: {format: webp}}}}")
    result = pipeline("recipes", "check", "--file", "mine.yaml", PIPELINE_RECIPES="recipes.yaml")
    assert result.stdout == "1 recipe valid: mine\n"


def test_recipe_with_too_many_renditions_is_invalid(tmp_path: Path) -> None:
    file = tmp_path / "recipes.yaml"
    file.write_text("recipes: {web: {renditions: {a: {format: webp}, b: {format: png}}}}")
    result = pipeline("recipes", "check", file, PIPELINE_MAX_RENDITIONS="1")
    assert (result.exit_code, "PIPELINE_MAX_RENDITIONS" in result.stderr) == (1, True)


def test_typo_in_a_recipe_is_reported_with_line_and_remedy(tmp_path: Path) -> None:
    file = tmp_path / "recipes.yaml"
    file.write_text("recipes:\n  web:\n    renditions:\n      a: {format: webp, qualty: 80}\n")
    result = pipeline("recipes", "check", "--file", file)
    assert result.exit_code == 1
    assert f"{file}:4:" in result.stderr
    assert "unknown key; did you mean 'quality'?" in result.stderr


def test_explain_shows_everything_that_a_session_receives() -> None:
    output = pipeline("recipes", "explain", "tutorial", "--code").stdout
    assert "crop: box 100,100,400,400" in output
    assert '.execution.jobs").main("DOCUMENT", "/mnt/data", "KEY")' in output
    assert '"name": "crop"' in output


def test_unknown_recipe_is_reported_with_a_similar_name() -> None:
    result = pipeline("recipes", "explain", "tutoral")
    assert (result.exit_code, "tutorial" in result.stderr) == (1, True)


def test_printed_schema_is_the_file_in_the_repository() -> None:
    assert pipeline("recipes", "schema").stdout == (ROOT / "recipes.schema.json").read_text()


def test_transforms_are_listed() -> None:
    output = pipeline("transforms").stdout
    assert all(f"\n{name}" in f"\n{output}" for name in ("crop", "resize", "watermark", "code"))


@pytest.mark.parametrize("command", ["settings", "doctor", "init", "recipes check", "jobs"])
def test_unknown_setting_is_an_error_with_a_similar_name(command: str) -> None:
    result = pipeline(*command.split(), **ENDPOINT, PIPELINE_INPUT_CONTANER="x")
    assert result.exit_code == 1
    assert "PIPELINE_INPUT_CONTANER is not a setting; did you mean PIPELINE_INPUT_CONTAINER?" in result.output


def test_settings_are_shown_with_value_and_default() -> None:
    lines = pipeline("settings", **ENDPOINT, PIPELINE_MAX_FRAMES="7").stdout.splitlines()
    (words,) = (line.split() for line in lines if "PIPELINE_MAX_FRAMES" in line)
    assert words[:3] == ["PIPELINE_MAX_FRAMES", "7", "500"]


def test_missing_settings_are_reported_with_the_local_stack() -> None:
    result = pipeline("init")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "PIPELINE_POOL_ENDPOINT is not set" in result.stderr
    assert "set -a; . .devstack/env; set +a" in result.stderr


def test_estimate_needs_no_stack_and_uses_the_given_times() -> None:
    def seconds(*more: str) -> float:
        result = pipeline("estimate", "--images", "20000", "--sessions", "10", "--execution-ms", "500", *more, "--json")
        assert result.exit_code == 0, result.stderr
        return float(json.loads(result.stdout)["seconds"])

    # 2,000 jobs per session, one at a time, and nine restarts of a session.
    assert 1000 <= seconds("--start-seconds", "0") < 1010
    assert 1000 + 9 * 4 <= seconds() < 1050
    assert seconds("--upload-ms", "2000", "--concurrency", "2", "--start-seconds", "0") > 2000, (
        "transfers are the bottleneck"
    )


def test_init_creates_missing_resources_and_is_repeatable(environ: dict[str, str]) -> None:
    first, second = pipeline("init", **environ), pipeline("init", **environ)
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert environ["PIPELINE_INPUT_CONTAINER"] in first.stdout
    assert "nothing to create" in second.stdout


@pytest.mark.slow
def test_preview_renders_in_a_local_pool_and_draws_a_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(image_bytes(640, 480))
    result = pipeline("preview", "tutorial", photo, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    rendition = (tmp_path / "out" / "tutorial" / "photo.jpg" / "cropped.jpg").read_bytes()
    assert (detect_format(rendition), size(rendition)) == ("JPEG", (300, 300))
    assert size((tmp_path / "out" / "contact-sheet.png").read_bytes())[0] > 300


def test_preview_names_the_file_that_is_not_an_image(tmp_path: Path, session_pool: str) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"not an image at all")
    result = pipeline("preview", "tutorial", photo, "--out", tmp_path, PIPELINE_POOL_ENDPOINT=session_pool)
    assert (result.exit_code, "photo.jpg" in result.stderr) == (1, True)


def test_images_with_the_same_file_name_are_kept_apart(tmp_path: Path, session_pool: str) -> None:
    for folder, seed in (("mine", 1), ("yours", 90)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jpg").write_bytes(image_bytes(640, 480, seed=seed))
    photos = [tmp_path / "mine" / "a.jpg", tmp_path / "mine" / ".." / "yours" / "a.jpg"]
    result = pipeline("preview", "tutorial", *photos, "--out", tmp_path / "out", PIPELINE_POOL_ENDPOINT=session_pool)
    assert result.exit_code == 0, result.stderr
    files = [tmp_path / "out" / "tutorial" / folder / "a.jpg" / "cropped.jpg" for folder in ("mine", "yours")]
    assert files[0].read_bytes() != files[1].read_bytes()


def test_preview_skips_files_whose_names_no_blob_can_have(tmp_path: Path, session_pool: str) -> None:
    names = ["a.jpg", os.fsdecode(b"b\xfc.jpg"), "c\x07.jpg"]
    for name in names:
        (tmp_path / name).write_bytes(image_bytes(640, 480))
    photos, out = [tmp_path / name for name in names], tmp_path / "out"
    result = pipeline("preview", "tutorial", *photos, "--out", out, PIPELINE_POOL_ENDPOINT=session_pool)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-2:] == [
        "skipped b\\xfc.jpg: its name is not UTF-8: rename the file",
        "skipped c\\x07.jpg: its name has a control character: rename the file",
    ]
    assert (out / "tutorial" / "a.jpg" / "cropped.jpg").is_file()
    nothing = pipeline("preview", "tutorial", photos[1], PIPELINE_POOL_ENDPOINT=session_pool)
    assert (nothing.exit_code, "not UTF-8" in nothing.stderr) == (1, True)


@pytest.mark.parametrize("out", ["taken", "taken/below"])
def test_unusable_output_folder_is_reported(tmp_path: Path, session_pool: str, out: str) -> None:
    (tmp_path / "taken").write_text("a file")
    (tmp_path / "a.jpg").write_bytes(image_bytes(640, 480))
    folder, endpoint = tmp_path / out, {"PIPELINE_POOL_ENDPOINT": session_pool}
    result = pipeline("preview", "tutorial", tmp_path / "a.jpg", "--out", folder, **endpoint)
    assert (result.exit_code, result.stderr.startswith(f"file: {folder}")) == (1, True), result.stderr
