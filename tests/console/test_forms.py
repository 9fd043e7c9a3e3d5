"""Forms made of parameter descriptions: what is typed becomes a recipe, and a recipe becomes a form."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import recipes
from pipeline.console import forms
from pipeline.console.recipe_draft import Draft, DraftProblems, DraftStep
from pipeline.console.runs import _selection
from pipeline.engine.encode.formats import FORMATS
from pipeline.engine.transforms.registry import TRANSFORMS
from pipeline.errors import RequestError
from pipeline.recipes import loads
from tests.console.conftest import RECIPES


def form_of(draft: Draft) -> dict[str, str]:
    """What a browser would send for the form that shows a draft."""
    found = {"format": draft.format, **{f"format-{each.name}": each.value for each in draft.format_fields}}
    for number, step in enumerate(draft.steps):
        found[f"step-{number}"] = step.name
        found |= {f"step-{number}-{each.name}": each.value for each in step.fields}
    return found


@pytest.mark.parametrize("name", forms.transform_names())
def test_every_transform_has_a_form_that_gives_its_example_back(name: str) -> None:
    draft = Draft().changed("add", name)
    assert draft.steps == (DraftStep(name, TRANSFORMS[name].example),)
    back = Draft.of_form(form_of(draft)).recipe(allow_code=True)
    assert back.steps == draft.recipe(allow_code=True).steps


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_a_form_whose_defaults_say_nothing(name: str) -> None:
    assert Draft.of_form({"format": name}).options == {}
    assert Draft.of_form(form_of(Draft(format=name))) == Draft(format=name)


@pytest.mark.parametrize("text", [RECIPES, (Path(__file__).parents[2] / "recipes.yaml").read_text()])
def test_a_recipe_that_is_taken_apart_does_the_same(text: str) -> None:
    for recipe in loads(text):
        draft = Draft.of_recipe(recipe)
        made = draft.recipe(allow_code=False)
        before, after = recipe.renditions[0], made.renditions[0]
        assert [*recipe.steps, *before.steps] == [*made.steps, *after.steps]
        assert (before.format, before.options()) == (after.format, after.options())


def test_the_yaml_is_a_recipe_file() -> None:
    draft = Draft.of_form({"step-0": "resize", "step-0-width": "300", "step-0-enlarge": "true", "format": "png"})
    loaded = recipes.loads(draft.yaml("mine")).get("mine")
    assert loaded.steps[0]["params"]["width"] == 300
    assert loaded.steps[0]["params"]["enlarge"] is True


@pytest.mark.parametrize(
    ("typed", "place", "says"),
    [
        ({"step-0": "crop", "step-0-box": "1, 2, x, 4"}, "step-0-box", "not 'x'"),
        ({"step-0": "crop"}, "step-0", "exactly one"),
        ({"step-0": "flip", "step-1": "blur", "step-1-radius": "9999"}, "step-1-radius", "250"),
        ({"step-0": "blur", "step-0-radius": "<b>"}, "step-0-radius", "<b>"),
        ({"format": "jpeg", "format-quality": "101"}, "format-quality", "100"),
        (
            {"step-0": "code", "step-0-source": "def transform(image, params): ..."},
            "step-0",
            "allow it in the settings",
        ),
    ],
)
def test_what_is_wrong_is_said_at_its_field(typed: dict[str, str], place: str, says: str) -> None:
    with pytest.raises(DraftProblems) as raised:
        Draft.of_form(typed).recipe(allow_code=False)
    assert place in [each.place for each in raised.value.complaints]
    assert any(says in each.message for each in raised.value.complaints if each.place == place)


@pytest.mark.parametrize(
    "text",
    ['{a: "\\U00110000"}', '{a: !!int "x"}', "{a: 2001-99-01, a: 1}", "&a {b: *a}", "[" * 5000, "{a: !!timestamp x}"],
)
def test_parameters_of_code_that_cannot_be_read_are_said_to_be_no_mapping(text: str) -> None:
    code = {"step-0": "code", "step-0-source": "def transform(image, params): ...", "step-0-params": text}
    with pytest.raises(DraftProblems, match="must be a mapping"):
        Draft.of_form(code).recipe(allow_code=True)


@pytest.mark.parametrize("text", ["1e5", ".5e3", "0o17", "0x1f", "yes", "2026-11-25", "1_000", "null", "16:9"])
def test_a_text_is_shown_as_what_was_typed(text: str) -> None:
    draft = Draft.of_form({"step-0": "text", "step-0-text": text})
    assert loads(draft.yaml("mine")).get("mine").steps[0]["params"]["text"] == text


@pytest.mark.parametrize("typed", [{"step-0": "nonsense"}, {"format": "exe"}])
def test_what_does_not_exist_is_refused(typed: dict[str, str]) -> None:
    with pytest.raises(RequestError, match="there is no"):
        Draft.of_form(typed)


def test_steps_are_added_moved_and_removed() -> None:
    draft = Draft().changed("add", "flip").changed("add", "grayscale").changed("add", "trim")
    names = [step.name for step in draft.changed("up-2").steps]
    assert names == ["flip", "trim", "grayscale"]
    assert [step.name for step in draft.changed("down-0").changed("remove-2").steps] == ["grayscale", "flip"]
    for nothing in ("up-0", "down-2", "remove-9", "remove--1", "add", "nonsense"):
        assert draft.changed(nothing, "nonsense") == draft


@given(st.sampled_from(forms.transform_names()), st.data())
def test_nothing_that_is_typed_breaks_it(name: str, data: st.DataObject) -> None:
    texts = {each.name: data.draw(st.text(max_size=30)) for each in forms.of_transform(name, {})}
    draft = Draft.of_form({"step-0": name, **{f"step-0-{key}": text for key, text in texts.items()}})
    try:
        recipe = draft.recipe(allow_code=False)
    except DraftProblems:
        return
    assert recipe.steps[0]["name"] == name


def test_hours_are_taken_with_a_comma_too() -> None:
    selection = _selection({"reason-new": "on", "newer": "1,5", "older": "0.5"}, [])
    assert (selection.max_age, selection.min_age) == (5400, 1800)
