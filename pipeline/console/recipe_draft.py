"""A recipe in the making: what a playground's form holds, as a recipe file, and back."""

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

FILE = "draft"
NAME = "draft"
RENDITION = "picture"
MOST_STEPS = 30


@dataclass(frozen=True)
class Complaint:
    """What is wrong, and in which field of the form, when it is in one: `step-0-box`, `format-quality`."""

    message: str
    place: str = ""

    @classmethod
    def of(cls, line: str) -> Self:
        """A line of what is said about a recipe file, with the place in it as a field of the form."""
        text = re.sub(rf"^{FILE}:\d+:\d+: ", "", line)
        path, _, message = text.partition(": ")
        step = re.match(rf"recipes\.{NAME}\.transforms\[(\d+)\](?:\.\w+(?:\.(\w+))?)?", path)
        option = re.fullmatch(rf"recipes\.{NAME}\.renditions\.{RENDITION}\.(\w+).*", path)
        if step:
            return cls(message, f"step-{step[1]}" + (f"-{step[2]}" if step[2] else ""))
        return cls(message, f"format-{option[1]}") if option else cls(text)


class DraftProblems(RequestError):  # noqa: N818 - a list of them
    """The draft is no recipe yet."""

    default_kind = "draft"

    def __init__(self, complaints: list[Complaint]) -> None:
        super().__init__("\n".join(f"{each.place}: {each.message}".removeprefix(": ") for each in complaints))
        self.complaints = complaints


@dataclass(frozen=True)
class DraftStep:
    """One transform and its parameters, as far as they are not the default."""

    name: str
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def forms(self) -> list[forms.Field]:
        """Its fields."""
        return forms.of_transform(self.name, self.params)

    @property
    def line(self) -> str:
        """What it does."""
        return forms.line(self.name)


@dataclass(frozen=True)
class Draft:
    """Transforms in their order, and one rendition."""

    steps: tuple[DraftStep, ...] = ()
    format: str = "webp"
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_form(cls, form: Mapping[str, str]) -> Self:
        """Read a form. RequestError when it names what does not exist."""
        steps: list[DraftStep] = []
        while (name := form.get(f"step-{len(steps)}")) is not None and len(steps) < MOST_STEPS:
            if name not in TRANSFORMS:
                raise RequestError(f"there is no transform {name[:40]!r}")
            steps.append(DraftStep(name, forms.read_transform(name, _below(form, f"step-{len(steps)}-"))))
        kind = form.get("format", cls.format)
        if kind not in FORMATS:
            raise RequestError(f"there is no format {kind[:40]!r}")
        return cls(tuple(steps), kind, forms.read_format(kind, _below(form, "format-")))

    @classmethod
    def of_recipe(cls, recipe: Recipe, rendition: str | None = None) -> Self:
        """The transforms that lead to one rendition of a recipe: the named one, or its first."""
        chosen = next((each for each in recipe.renditions if each.name == rendition), recipe.renditions[0])
        steps = [
            step for step in (*recipe.steps, *chosen.steps) if step["name"] not in FIRST or step["name"] == "frame"
        ]
        return cls(
            tuple(DraftStep(step["name"], _told(step["name"], step["params"])) for step in steps),
            chosen.format,
            forms.read_format(chosen.format, {name: forms.as_text(value) for name, value in chosen.options().items()}),
        )

    @property
    def format_fields(self) -> list[forms.Field]:
        """The fields of the rendition's format."""
        return forms.of_format(self.format, self.options)

    def changed(self, action: str, transform: str = "") -> Self:
        """The draft after a button: `add`, or `remove-2`, `up-2`, `down-2` for the third step."""
        verb, _, place = action.partition("-")
        steps = list(self.steps)
        index = int(place) if re.fullmatch(r"\d{1,2}", place) else -1
        if verb == "add" and transform in TRANSFORMS and len(steps) < MOST_STEPS:
            # The example's parameters are a start that works; a field that is needed cannot be left empty anyway.
            steps.append(DraftStep(transform, dict(TRANSFORMS[transform].example)))
        elif verb == "remove" and 0 <= index < len(steps):
            del steps[index]
        elif verb == "up" and 0 < index < len(steps):
            steps[index - 1], steps[index] = steps[index], steps[index - 1]
        elif verb == "down" and 0 <= index < len(steps) - 1:
            steps[index + 1], steps[index] = steps[index], steps[index + 1]
        return replace(self, steps=tuple(steps))

    def yaml(self, name: str = NAME) -> str:
        """The draft as a recipe file."""
        steps = [{step.name: step.params} if step.params else step.name for step in self.steps]
        rendition = {"format": self.format, **self.options}
        recipe = {**({"transforms": steps} if steps else {}), "renditions": {RENDITION: rendition}}
        return yaml_loader.dump({"recipes": {name: recipe}})

    def recipe(self, *, allow_code: bool) -> Recipe:
        """The draft, checked as every recipe file is. DraftProblems with everything that is wrong with it."""
        try:
            return recipes.loads(self.yaml(), FILE, allow_code=allow_code).get(NAME)
        except ConfigError as error:
            raise DraftProblems([Complaint.of(line) for line in error.message.splitlines()]) from None


def _below(form: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {name.removeprefix(prefix): value for name, value in form.items() if name.startswith(prefix)}


def _told(name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that say something: without those that are what they would be anyway."""
    return forms.read_transform(name, {key: forms.as_text(value) for key, value in params.items()})
