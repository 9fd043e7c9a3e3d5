"""Draft of a recipe in the playground: conversion between its form and a recipe file, and validation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from pipeline import recipes
from pipeline.console import forms
from pipeline.engine.encode.formats import FORMATS
from pipeline.engine.transforms.registry import FIRST, TRANSFORMS
from pipeline.errors import ConfigError, RequestError
from pipeline.recipes import Recipe, yaml_loader

FILE_NAME = "draft"
RECIPE_NAME = "draft"
RENDITION_NAME = "image"
MAX_STEPS = 30


@dataclass(frozen=True)
class FieldError:
    """An error message, and the id of its form field, such as `step-0-box` or `format-quality`; empty for no field."""

    message: str
    field_id: str = ""

    @classmethod
    def parse(cls, line: str) -> Self:
        """Parse one line of the error message about a recipe file."""
        text = re.sub(rf"^{FILE_NAME}:\d+:\d+: ", "", line)
        path, _, message = text.partition(": ")
        step = re.match(rf"recipes\.{RECIPE_NAME}\.transforms\[(\d+)\](?:\.\w+(?:\.(\w+))?)?", path)
        option = re.fullmatch(rf"recipes\.{RECIPE_NAME}\.renditions\.{RENDITION_NAME}\.(\w+).*", path)
        if step:
            return cls(message, f"step-{step[1]}" + (f"-{step[2]}" if step[2] else ""))
        return cls(message, f"format-{option[1]}") if option else cls(text)


class InvalidDraft(RequestError):  # noqa: N818 - named for its cause, like its base class's other kinds
    """The draft is not a valid recipe."""

    default_kind = "invalid_draft"

    def __init__(self, errors: list[FieldError]) -> None:
        """Set the message from the errors of all fields."""
        super().__init__("\n".join(f"{each.field_id}: {each.message}".removeprefix(": ") for each in errors))
        self.errors = errors


@dataclass(frozen=True)
class DraftStep:
    """A transform, and its parameters without defaults."""

    name: str
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def fields(self) -> list[forms.Field]:
        """The form fields of the transform."""
        return forms.fields(TRANSFORMS[self.name], self.params)

    @property
    def summary(self) -> str:
        """The description of the transform in one line."""
        return forms.summary(TRANSFORMS[self.name])


@dataclass(frozen=True)
class Draft:
    """A draft: transforms in their order, and one rendition."""

    steps: tuple[DraftStep, ...] = ()
    format: str = "webp"
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_form(cls, form: Mapping[str, str]) -> Self:
        """Parse a form. Raises RequestError if it names an unknown transform or format."""
        steps: list[DraftStep] = []
        while (name := form.get(f"step-{len(steps)}")) is not None and len(steps) < MAX_STEPS:
            if name not in TRANSFORMS:
                raise RequestError(f"there is no transform {name[:40]!r}")
            steps.append(DraftStep(name, forms.parse(TRANSFORMS[name], _with_prefix(form, f"step-{len(steps)}-"))))
        format_name = form.get("format", cls.format)
        if format_name not in FORMATS:
            raise RequestError(f"there is no format {format_name[:40]!r}")
        return cls(tuple(steps), format_name, forms.parse(FORMATS[format_name], _with_prefix(form, "format-")))

    @classmethod
    def from_recipe(cls, recipe: Recipe, rendition: str | None = None) -> Self:
        """Return the transforms of one rendition of a recipe: the named rendition, or the first."""
        chosen = next((each for each in recipe.renditions if each.name == rendition), recipe.renditions[0])
        steps = [
            step for step in (*recipe.steps, *chosen.steps) if step["name"] not in FIRST or step["name"] == "frame"
        ]
        return cls(
            tuple(
                DraftStep(step["name"], forms.parse(TRANSFORMS[step["name"]], _texts(step["params"]))) for step in steps
            ),
            chosen.format,
            forms.parse(FORMATS[chosen.format], _texts(chosen.options())),
        )

    @property
    def format_fields(self) -> list[forms.Field]:
        """The form fields of the rendition's format."""
        return forms.fields(FORMATS[self.format], self.options)

    def edited(self, command: str, transform: str = "") -> Self:
        """Apply a button: `add` with a transform, or `remove-2`, `up-2`, `down-2` for the third step."""
        verb, _, position = command.partition("-")
        steps = list(self.steps)
        index = int(position) if re.fullmatch(r"\d{1,2}", position) else -1
        if verb == "add" and transform in TRANSFORMS and len(steps) < MAX_STEPS:
            # The example's parameters are valid, and required fields cannot be empty.
            steps.append(DraftStep(transform, dict(TRANSFORMS[transform].example)))
        elif verb == "remove" and 0 <= index < len(steps):
            del steps[index]
        elif verb == "up" and 0 < index < len(steps):
            steps[index - 1], steps[index] = steps[index], steps[index - 1]
        elif verb == "down" and 0 <= index < len(steps) - 1:
            steps[index + 1], steps[index] = steps[index], steps[index + 1]
        return replace(self, steps=tuple(steps))

    def yaml(self, name: str = RECIPE_NAME) -> str:
        """Return the draft as a recipe file."""
        steps = [{step.name: step.params} if step.params else step.name for step in self.steps]
        rendition = {"format": self.format, **self.options}
        recipe = {**({"transforms": steps} if steps else {}), "renditions": {RENDITION_NAME: rendition}}
        return yaml_loader.dump({"recipes": {name: recipe}})

    def recipe(self, *, allow_code: bool) -> Recipe:
        """Return the draft as a recipe, validated like a recipe file. Raises InvalidDraft with all errors."""
        try:
            return recipes.loads(self.yaml(), FILE_NAME, allow_code=allow_code).get(RECIPE_NAME)
        except ConfigError as error:
            raise InvalidDraft([FieldError.parse(line) for line in error.message.splitlines()]) from None


def _with_prefix(form: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Return the fields whose names begin with a prefix, without that prefix."""
    return {name.removeprefix(prefix): value for name, value in form.items() if name.startswith(prefix)}


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: forms.to_text(value) for name, value in values.items()}
