"""Forms from parameter schemas: a form becomes a recipe, and a recipe becomes a form."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import recipes
from pipeline.console import forms
from pipeline.console.playground import Draft, DraftStep, InvalidDraft
from pipeline.console.runs import parse_selection
from pipeline.engine.encode.formats import FORMATS
from pipeline.engine.transforms.registry import TRANSFORMS
from pipeline.errors import RequestError
from pipeline.recipes import loads
from tests.console.sources import RECIPES


def form_of(draft: Draft) -> dict[str, str]:
    """Return the fields that a browser sends for the form of a draft."""
    form = {"format": draft.format, **{f"format-{each.name}": each.value for each in draft.format_fields}}
    for number, step in enumerate(draft.steps):
        form[f"step-{number}"] = step.name
        form |= {f"step-{number}-{each.name}": each.value for each in step.fields}
    return form


@pytest.mark.parametrize("name", forms.transform_names())
def test_the_form_of_a_transform_returns_its_example(name: str) -> None:
    draft = Draft().edited("add", name)
    assert draft.steps == (DraftStep(name, TRANSFORMS[name].example),)
    parsed = Draft.from_form(form_of(draft)).recipe(allow_code=True)
    assert parsed.steps == draft.recipe(allow_code=True).steps


@pytest.mark.parametrize("name", FORMATS)
def test_the_form_of_a_format_omits_defaults(name: str) -> None:
    assert Draft.from_form({"format": name}).options == {}
    assert Draft.from_form(form_of(Draft(format=name))) == Draft(format=name)


@pytest.mark.parametrize("text", [RECIPES, (Path(__file__).parents[2] / "recipes.yaml").read_text()])
def test_a_recipe_keeps_its_steps_as_a_draft(text: str) -> None:
    for recipe in loads(text):
        draft = Draft.from_recipe(recipe)
        copy = draft.recipe(allow_code=False)
        before, after = recipe.renditions[0], copy.renditions[0]
        assert [*recipe.steps, *before.steps] == [*copy.steps, *after.steps]
        assert (before.format, before.options()) == (after.format, after.options())


def test_the_yaml_is_a_recipe_file() -> None:
    draft = Draft.from_form({"step-0": "resize", "step-0-width": "300", "step-0-enlarge": "true", "format": "png"})
    loaded = recipes.loads(draft.yaml("mine")).get("mine")
    assert loaded.steps[0]["params"]["width"] == 300
    assert loaded.steps[0]["params"]["enlarge"] is True


@pytest.mark.parametrize(
    ("typed", "field_id", "message"),
    [
        ({"step-0": "crop", "step-0-box": "1, 2, x, 4"}, "step-0-box", "not 'x'"),
        ({"step-0": "crop"}, "step-0", "exactly one"),
        ({"step-0": "flip", "step-1": "blur", "step-1-radius": "9999"}, "step-1-radius", "250"),
        ({"step-0": "blur", "step-0-radius": "<b>"}, "step-0-radius", "<b>"),
        ({"format": "jpeg", "format-quality": "101"}, "format-quality", "100"),
        (
            {"step-0": "code", "step-0-source": "def transform(image, params): ..."},
            "step-0",
            "user code is not allowed",
        ),
    ],
)
def test_an_error_belongs_to_its_field(typed: dict[str, str], field_id: str, message: str) -> None:
    with pytest.raises(InvalidDraft) as raised:
        Draft.from_form(typed).recipe(allow_code=False)
    assert field_id in [each.field_id for each in raised.value.errors]
    assert any(message in each.message for each in raised.value.errors if each.field_id == field_id)


@pytest.mark.parametrize(
    "text",
    ['{a: "\\U00110000"}', '{a: !!int "x"}', "{a: 2001-99-01, a: 1}", "&a {b: *a}", "[" * 5000, "{a: !!timestamp x}"],
)
def test_unreadable_parameters_of_code_are_reported(text: str) -> None:
    code = {"step-0": "code", "step-0-source": "def transform(image, params): ...", "step-0-params": text}
    with pytest.raises(InvalidDraft, match="must be a mapping"):
        Draft.from_form(code).recipe(allow_code=True)


@pytest.mark.parametrize("text", ["1e5", ".5e3", "0o17", "0x1f", "yes", "2026-11-25", "1_000", "null", "16:9"])
def test_a_text_is_kept_literally(text: str) -> None:
    draft = Draft.from_form({"step-0": "text", "step-0-text": text})
    assert loads(draft.yaml("mine")).get("mine").steps[0]["params"]["text"] == text


@pytest.mark.parametrize("typed", [{"step-0": "nonsense"}, {"format": "exe"}])
def test_unknown_transforms_and_formats_are_rejected(typed: dict[str, str]) -> None:
    with pytest.raises(RequestError, match="there is no"):
        Draft.from_form(typed)


def test_steps_are_added_moved_and_removed() -> None:
    draft = Draft().edited("add", "flip").edited("add", "grayscale").edited("add", "trim")
    names = [step.name for step in draft.edited("up-2").steps]
    assert names == ["flip", "trim", "grayscale"]
    assert [step.name for step in draft.edited("down-0").edited("remove-2").steps] == ["grayscale", "flip"]
    for invalid in ("up-0", "down-2", "remove-9", "remove--1", "add", "nonsense"):
        assert draft.edited(invalid, "nonsense") == draft


@given(st.sampled_from(forms.transform_names()), st.data())
def test_no_input_causes_an_unexpected_error(name: str, data: st.DataObject) -> None:
    texts = {each.name: data.draw(st.text(max_size=30)) for each in forms.fields(TRANSFORMS[name], {})}
    draft = Draft.from_form({"step-0": name, **{f"step-0-{key}": text for key, text in texts.items()}})
    try:
        recipe = draft.recipe(allow_code=False)
    except InvalidDraft:
        return
    assert recipe.steps[0]["name"] == name


def test_hours_may_have_a_decimal_comma() -> None:
    selection = parse_selection({"reason-new": "on", "newer": "1,5", "older": "0.5"}, [])
    assert (selection.max_age, selection.min_age) == (5400, 1800)
