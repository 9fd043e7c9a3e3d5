"""Loading of recipe files, and the messages about their errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import recipes
from pipeline.errors import ConfigError, RecipeError

ROOT = Path(__file__).parents[2]

MINIMAL = """
recipes:
  web:
    match: {include: ["**/*.jpg"]}
    renditions:
      small: {format: webp, transforms: [{resize: {width: 800}}]}
"""


def problems(text: str, *, same_container: bool = False) -> list[str]:
    """Return the lines of the error that loading raises."""
    with pytest.raises(ConfigError) as caught:
        recipes.loads(text, same_container=same_container)
    return caught.value.message.splitlines()


def recipe(body: str) -> str:
    """Return a file with one recipe; `body` starts in line 3."""
    return "recipes:\n  web:\n" + "".join(f"    {line}\n" for line in body.strip("\n").splitlines())


def test_shipped_recipes_load_and_match_uploads() -> None:
    loaded = recipes.load(ROOT / "recipes.yaml")
    assert [each.name for each in loaded.match("holiday/IMG_1.JPG")] == ["web"]
    assert loaded.match("notes.txt") == []
    assert loaded.match("originals/a.jpg") == []
    assert loaded.get("tutorial").steps[0]["params"]["box"] == [100, 100, 400, 400]
    assert not any("tutorial" in each.name for each in loaded.match("tutorial/a.jpg"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1:1: the file must be a mapping with the key recipes"),
        ("recipes: [", "not YAML"),
        ("recipe: {}", "1:1: recipe: unknown key; did you mean 'recipes'?"),
        ("recipes: {}", "1:1: recipes: "),
        (recipe("matches: {}"), "3:5: recipes.web.matches: unknown key; did you mean 'match'?"),
        (
            recipe("match: {includes: ['*']}"),
            "recipes.web.match.includes: unknown key; did you mean 'include'?",
        ),
        (recipe("match: {include: ['a[']}"), "3:23: recipes.web.match.include[0]: unbalanced [ in the glob 'a['"),
        (recipe("match: {include: ['/a']}"), "blob names start without a slash"),
        (
            recipe("transforms: [croop]"),
            "3:18: recipes.web.transforms[0]: there is no transform 'croop'; did you mean 'crop'?",
        ),
        (
            recipe("transforms: [resize: {widht: 5}]"),
            "3:27: recipes.web.transforms[0].resize.widht: unknown key; did you mean 'width'?",
        ),
        (
            recipe("transforms: [resize: {width: 0}]"),
            "recipes.web.transforms[0].resize.width: must be 1 or more, not 0",
        ),
        (recipe("transforms: [resize: {width: 99999}]"), "must be 16383 or less, not 99999"),
        (recipe("transforms: [resize: {width: '5'}]"), "must be a valid integer, not '5'"),
        (recipe("match: {include: 'photos/*.jpg'}"), "must be a list, not 'photos/*.jpg'"),
        (recipe("renditions:"), "must be a mapping, not nothing"),
        (recipe("transforms: [resize]"), "resize takes width and height (or one of them), or scale"),
        (recipe("transforms: [resize: {width: 5, mode: cover}]"), "mode cover needs both width and height"),
        (recipe("transforms: [crop: {box: [400, 1, 100, 9]}]"), "it is empty between left and right (400, 100)"),
        (recipe("transforms: [crop: {aspect: 0:9}]"), "an aspect ratio is like 16:9, up to 9999:9999, not '0:9'"),
        (recipe("transforms: [crop: {aspect: 1:1, box: [0, 0, 1, 1]}]"), "exactly one of them"),
        (
            recipe("transforms: [resize: {width: 5}, auto_orient]\nrenditions: {a: {format: png}}"),
            "auto_orient is allowed only at the start",
        ),
        (recipe("transforms: [{resize: {width: 5}, crop: {}}]"), "one transform per list item"),
        (
            recipe("renditions: {a: {format: jpg}}"),
            "recipes.web.renditions.a: there is no format 'jpg'; did you mean 'jpeg'?",
        ),
        (recipe("renditions: {a: {}}"), "a rendition needs a format"),
        (recipe("renditions: {a: {format: png, quality: 5}}"), "a.quality: unknown key"),
        (recipe("renditions: {a: {format: webp, quality: 500}}"), "must be 100 or less, not 500"),
        (recipe("renditions: {A B: {format: webp}}"), "the name 'A B' must be"),
        (recipe("path: '{stm}'"), "unknown field {stm}"),
        (recipe("path: '../{path}'"), "no part of a path may end with a dot"),
        (recipe("path: '/{path}'"), "must not start or end with a slash"),
        (recipe("path: 'all.jpg'"), "all sources have the same output path"),
        (recipe("transforms: [watermark: {image: a/../../output/b.png}]"), "without the parts '.' and '..'"),
        (recipe("transforms: [watermark: {image: a/.}]"), "without the parts '.' and '..'"),
        (recipe("match: {}\nmatch: {}"), "4:5: recipes.web.match: duplicate key"),
    ],
)
def test_each_error_has_its_position_and_remedy(text: str, message: str) -> None:
    assert any(message in line and line.startswith("recipes.yaml:") for line in problems(text)), problems(text)


@pytest.mark.parametrize("allow_code", [True, False])
def test_user_code_is_suggested_only_if_allowed(allow_code: bool) -> None:
    for word in ("cod", "xyzzy"):
        with pytest.raises(ConfigError) as caught:
            recipes.loads(recipe(f"transforms: [{word}]"), allow_code=allow_code)
        assert ("code" in caught.value.message.partition(";")[2]) is allow_code


def test_all_errors_are_listed_in_the_order_of_the_file() -> None:
    lines = problems(recipe("matches: {}\ntransforms: [croop, blurr]\nrenditions: {a: {format: jpg}}"))
    assert [line.split(":")[1] for line in lines] == ["3", "4", "4", "5"]


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        recipes.load(tmp_path / "none.yaml")


def test_ratios_dates_and_no_are_text() -> None:
    loaded = recipes.loads(
        recipe("transforms: [crop: {aspect: 16:9}]\nrenditions: {no: {format: webp}, 2024-01-01: {format: png}}")
    )
    assert loaded.get("web").steps[0]["params"]["aspect"] == "16:9"
    assert [each.name for each in loaded.get("web").renditions] == ["no", "2024-01-01"]


def test_expanding_aliases_are_refused() -> None:
    layers = "\n".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 9))
    assert "aliases may repeat too much" in problems(f"l0: &l0 [x]\n{layers}")[0]


def test_unknown_recipe_is_reported_with_a_similar_name() -> None:
    with pytest.raises(RecipeError, match="did you mean 'web'") as caught:
        recipes.loads(MINIMAL).get("wep")
    assert caught.value.kind == "unknown_recipe"


def test_comments_key_order_and_defaults_keep_the_hash() -> None:
    other = """
# The same recipe in another form.
recipes:
  web:
    renditions:
      small:
        transforms: [{resize: {mode: fit, width: 800}}]
        quality: 80
        format: webp
    match: {include: ["elsewhere/**"]}
"""
    assert recipes.loads(MINIMAL).get("web").hash == recipes.loads(other).get("web").hash


@pytest.mark.parametrize("change", [("800", "801"), ("webp", "avif"), ("small", "tiny"), ("web:", "web2:")])
def test_changes_of_renditions_change_the_hash(change: tuple[str, str]) -> None:
    one, two = recipes.loads(MINIMAL), recipes.loads(MINIMAL.replace(*change))
    assert next(iter(one)).hash != next(iter(two)).hash


def test_job_document_has_all_inputs_of_the_session() -> None:
    limits = {"max_pixels": 1, "max_frames": 1, "max_rendition_bytes": 1, "max_rendition_pixels": 1}
    job = (
        recipes.loads(MINIMAL)
        .get("web")
        .job(
            source="s",
            report="r",
            files={"small": "f"},
            limits=limits,
            formats=["JPEG"],
            remove=["x"],  # type: ignore[arg-type]
        )
    )
    assert job["renditions"][0]["file"] == "f"
    assert job["renditions"][0]["options"]["quality"] == 80
    assert job["renditions"][0]["transforms"][0]["params"]["width"] == 800
    assert (job["source"], job["report"], job["remove"], job["formats"]) == ("s", "r", ["x"], ["JPEG"])
