"""Hostile recipe files are refused with a message, at little cost."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline import recipes
from pipeline.cli.recipes import app
from pipeline.errors import ConfigError, RecipeError
from pipeline.recipes import adhoc, globs
from pipeline.recipes.yaml_loader import dump, parse

RENDITIONS = "renditions: {a: {format: png}}"
NUMBER = "transforms: [resize: {{width: {}}}]"
HOSTILE = {
    "[" * 30_000: "nested more than 50 levels deep",
    "{a: " * 900 + "1" + "}" * 900: "nested more than 50 levels deep",
    "transforms: &a [*a]": "an alias may contain itself",
    "transforms: &a [*a, *a, *a, *a]": "an alias may contain itself",
    NUMBER.format("9" * 5000): "a number has at most 40 digits, not 5,000",
    NUMBER.format("0x" + "f" * 9000): "a number has at most 40 digits, not 9,002",
    NUMBER.format("1e999"): "the number 1e999 is too large",
    NUMBER.format('!!int "12x"'): "'12x' is not a valid int",
    NUMBER.format('"\\U00110000"'): "the escape is not a character",
    'transforms: ["\\ud800"]': "half of a surrogate pair",
    '"\\ud800": 1': "half of a surrogate pair",
    "exclusive: !!bool perhaps": "'perhaps' is not a valid bool",
}


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_yaml_is_refused_with_a_message(text: str) -> None:
    with pytest.raises(RecipeError) as caught:
        adhoc.for_preview(f"{text}\n{RENDITIONS}")
    assert HOSTILE[text] in caught.value.message
    indented = "".join(f"    {line}\n" for line in (text, RENDITIONS))
    with pytest.raises(ConfigError, match=r"^recipes.yaml:\d+:\d+: "):
        recipes.loads(f"recipes:\n  web:\n{indented}")


@pytest.mark.parametrize("how", [[], ["--file"]])
def test_the_command_line_reports_hostile_yaml(tmp_path: Path, how: list[str]) -> None:
    file = tmp_path / "recipes.yaml"
    file.write_text("recipes: " + "[" * 30_000)
    result = CliRunner().invoke(app, ["check", *how, str(file)])
    assert (result.exit_code, type(result.exception)) == (1, SystemExit)
    assert "nested more than 50 levels deep" in result.output


def test_the_command_line_takes_one_file(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["check", str(tmp_path / "a"), "--file", str(tmp_path / "b")])
    assert (result.exit_code, "name one file" in result.output) == (2, True)


@pytest.mark.parametrize(
    ("glob", "message"),
    [
        ("{" * 100 + "}" * 100, "braces are nested more than 10 levels deep"),
        ("{" * 3000, "a glob has at most 200 characters, not 3,000"),
        ("a" * 201, "a glob has at most 200 characters, not 201"),
        ("[ -\U0010ffff]y", "more than 256 characters"),
        ("[ -\u00ff\u0100-\u0150]y", "more than 256 characters"),
    ],
)
def test_expensive_globs_are_refused(glob: str, message: str) -> None:
    with pytest.raises(globs.GlobError) as caught:
        globs.check(glob)
    assert message in str(caught.value)


def test_globs_of_maximum_length_are_compared() -> None:
    long = ["a" * 200, "{" + "a" * 190 + ",b}c", "**/" * 66 + "a", "a*" * 100]
    match = f"match: {{include: {long}}}"
    both = "".join(f"  {name}:\n    {match}\n    path: '{{path}}.png'\n    {RENDITIONS}\n" for name in ("one", "two"))
    with pytest.raises(ConfigError, match="have the same output path"):
        recipes.loads(f"recipes:\n{both}")


def test_paths_too_long_to_compare_are_reported() -> None:
    path = "e" * 490 + "{stem}"
    one = f"recipes:\n  web:\n    match: {{include: ['e*']}}\n    path: '{path}'\n    {RENDITIONS}\n"
    with pytest.raises(ConfigError, match=r"endless loop|too complex to compare"):
        recipes.loads(one, same_container=True)


def test_match_rules_of_a_preview_are_not_compiled() -> None:
    include = [f"[ -\U0010ffff]y{number}" for number in range(6)]
    tracemalloc.start()
    adhoc.for_preview(f"match: {{include: {include}}}\n{RENDITIONS}".replace("'", '"'))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


@pytest.mark.parametrize(
    "value", ["1e5", ".5e3", "0o17", "0x1f", "1_000", "yes", "on", "2026-11-25", "16:9", "~", "", "null", "1.", "<<"]
)
def test_dumped_yaml_is_parsed_unchanged(value: str) -> None:
    document = {"text": value, "list": [value, 1, 2.5, True, None], value: -3}
    assert parse(dump(document)).data == document
