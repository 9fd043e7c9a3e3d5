"""Compile the validated model of a recipe file to recipes: fill in defaults, insert blocks, expand widths.

Validation errors of pydantic become messages in terms of YAML, with position and remedy.
"""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.engine.protocol import Step
from pipeline.engine.transforms.code import Code
from pipeline.engine.transforms.registry import FIRST, TRANSFORMS
from pipeline.engine.transforms.resize import Resize
from pipeline.recipes import output_paths
from pipeline.recipes.model import (
    RENDITION_MODELS,
    Defaults,
    FileModel,
    Match,
    RecipeLimits,
    RecipeModel,
    RenditionModel,
    Size,
)
from pipeline.recipes.recipe import Recipe, Rendition
from pipeline.recipes.steps import StepModel, Use
from pipeline.recipes.yaml_loader import Document, KeyPath, Problem

_MODELS: dict[str, type[BaseModel]] = {
    "match": Match,
    "size": Size,
    "limits": RecipeLimits,
    "defaults": Defaults,
    **RENDITION_MODELS,
}
_BOUNDS = {
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "too_short": "needs {min_length} or more items",
    "too_long": "may have {max_length} items",
}
# Pydantic names these types as JSON does.
_YAML_TYPES = dict.fromkeys(("list_type", "tuple_type"), "a list")
_YAML_TYPES |= dict.fromkeys(("dict_type", "model_type", "model_attributes_type", "dataclass_type"), "a mapping")


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return a hint for an unknown word: the most similar known word, or all known words."""
    known = sorted(known)
    similar = difflib.get_close_matches(str(word), known, n=1, cutoff=0.6)
    return f"did you mean {similar[0]!r}?" if similar else f"choose one of: {', '.join(known)}"


def explain(error: ValidationError, document: Document, *, allow_code: bool = False) -> list[Problem]:
    """Return the problems in a validation error, one for each key path, in the order of the file.

    The transform `code` is suggested only with `allow_code`.
    """
    transforms = [*(name for name in TRANSFORMS if allow_code or name != Code.name), "use"]
    problems: dict[KeyPath, Problem] = {}
    for detail in error.errors(include_url=False):
        path = _path(detail, document.data)
        problems.setdefault(path, document.problem(path, _message(detail, transforms)))
    return list(problems.values())


def _path(detail: ErrorDetails, data: Any) -> KeyPath:  # noqa: ANN401 - any plain data
    """Return the key path of an error: pydantic's location, without the names of models and union members in it."""
    path: list[str | int] = []
    for key in detail["loc"]:
        if key in data if isinstance(data, dict) else isinstance(data, list) and isinstance(key, int):
            data = data[key]
            path.append(key)
    if detail["type"] == "missing":
        path.append(detail["loc"][-1])
    return tuple(path)


def _message(detail: ErrorDetails, transforms: list[str]) -> str:
    kind, value, loc = detail["type"], detail["input"], detail["loc"]
    if kind in {"extra_forbidden", "unexpected_keyword_argument"}:
        return f"unknown key; {did_you_mean(loc[-1], _known_keys(loc[:-1]))}"
    if kind.startswith("union_tag"):
        is_transform = {"transforms", "blocks"} & set(loc)
        return _transform_message(value, transforms) if is_transform else _format_message(value)
    if kind == "missing":
        return "this key is required"
    if kind in {"value_error", "assertion_error"}:
        return detail["msg"].partition(", ")[2]
    if kind == "string_pattern_mismatch" and loc[-1] == "[key]":
        return f"the name {value!r} must be 1 to 40 of a-z, 0-9, - and _, and start with a letter or digit"
    if kind in _BOUNDS:
        rule = _BOUNDS[kind].format(**detail["ctx"])
    elif kind in _YAML_TYPES:
        rule = f"must be {_YAML_TYPES[kind]}"
    else:
        rule = detail["msg"].replace("Input should", "must")
        rule = rule[0].lower() + rule[1:]
    shown = "nothing" if value is None else repr(value)
    return f"{rule}, not {shown if len(shown) <= 60 else shown[:57] + '...'}"


def _format_message(rendition: object) -> str:
    name = rendition.get("format") if isinstance(rendition, dict) else None
    if name is None:
        return f"a rendition needs a format: one of {', '.join(RENDITION_MODELS)}"
    return f"there is no format {name!r}; {did_you_mean(name, RENDITION_MODELS)}"


def _transform_message(step: object, transforms: list[str]) -> str:
    if isinstance(step, dict) and len(step) == 1:
        (name,) = step
        return f"there is no transform {name!r}; {did_you_mean(name, transforms)}"
    return "write one transform per list item, with its parameters: `- resize: {width: 800}`"


def _known_keys(parents: tuple[int | str, ...]) -> list[str]:
    """Return the keys of the mapping at a location of pydantic, which names models and union members, too."""
    last = str(parents[-1]) if parents else ""
    if last in TRANSFORMS and parents[-2:] == (last, last):
        return [field.name for field in fields(TRANSFORMS[last])]
    by_depth: dict[int, type[BaseModel]] = {0: FileModel, 2: RecipeModel}
    model = _MODELS.get(last) or by_depth.get(len(parents))
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


T = TypeVar("T")


@dataclass
class RecipeCompiler:
    """Compile the recipes of a file, and collect their problems. `code` is the folder of modules, or None."""

    model: FileModel
    document: Document
    code: Path | None = None
    allow_code: bool = False
    problems: list[Problem] = field(default_factory=list)

    def recipes(self) -> list[Recipe]:
        """Return all recipes, in the order of the file."""
        return [self._recipe(name, model) for name, model in self.model.recipes.items()]

    def _recipe(self, name: str, model: RecipeModel) -> Recipe:
        path: KeyPath = ("recipes", name)
        defaults = self.model.defaults
        steps = self._steps(model.transforms, (*path, "transforms"), leading=True)
        renditions = tuple(self._renditions(model, path))
        has_code = any(step["name"] == Code.name for each in (steps, *(r.steps for r in renditions)) for step in each)
        match = model.match
        size = (match and match.size) or Size()
        return Recipe(
            name=name,
            include=tuple(match.include) if match else (),
            exclude=tuple(match.exclude) if match else (),
            sizes=(size.min, size.max),
            content_types=tuple((match and match.content_type) or ()),
            exclusive=model.exclusive,
            steps=tuple(steps),
            renditions=renditions,
            isolation="single" if has_code else _first(model.isolation, defaults.isolation, "shared"),
            on_truncated=_first(model.on_truncated, defaults.on_truncated, "fail"),
            limits=_limits(defaults.limits) | _limits(model.limits),
            carry=tuple(_first(model.carry, defaults.carry, [])),
            description=model.description or "",
        )

    def _renditions(self, model: RecipeModel, path: KeyPath) -> Iterator[Rendition]:
        """Compile the renditions; `widths` makes several of one."""
        seen: set[str] = set()
        for name, each in model.renditions.items():
            place = (*path, "renditions", name)
            steps = self._steps(each.transforms, (*place, "transforms"), leading=False)
            for width in list[int | None](each.widths or ()) or [None]:
                full = name if width is None else f"{name}-{width}"
                if full in seen or (full != name and full in model.renditions):
                    self._report((*place, "widths"), f"duplicate rendition {full!r}: rename one of them")
                seen.add(full)
                resize = [] if width is None else [Step(name=Resize.name, params=asdict(Resize(width=width)))]
                yield self._rendition(full, each, model, [*steps, *resize])

    def _rendition(self, name: str, model: RenditionModel, recipe: RecipeModel, steps: list[Step]) -> Rendition:
        defaults = self.model.defaults
        return Rendition(
            name=name,
            encoder=model.format(defaults),
            output=model.output(),
            steps=tuple(steps),
            path=_first(model.path, recipe.path, defaults.path, output_paths.DEFAULT),
            cache_control=model.cache_control or recipe.cache_control or defaults.cache_control,
        )

    def _steps(self, models: list[StepModel | Use], path: KeyPath, *, leading: bool) -> list[Step]:
        """Compile a list of transforms, and insert its blocks.

        With `leading`, the list may start with the transforms that are allowed only at the start of a recipe.
        """
        steps: list[Step] = []
        for index, model in enumerate(models):
            for step in self._block(model, (*path, index)) if isinstance(model, Use) else [model]:
                self._check(step, (*path, index), steps, leading=leading)
                steps.append(self._with_source(step.step(), (*path, index)))
        return steps

    def _block(self, use: Use, path: KeyPath) -> list[StepModel]:
        if use.use not in self.model.blocks:
            hint = did_you_mean(use.use, self.model.blocks) if self.model.blocks else "the file has no blocks"
            self._report(path, f"there is no block {use.use!r}; {hint}")
        return self.model.blocks.get(use.use, [])

    def _check(self, step: StepModel, path: KeyPath, before: list[Step], *, leading: bool) -> None:
        name = step.transform().name
        names = [each["name"] for each in before]
        if name in FIRST and not (leading and all(each in FIRST[: FIRST.index(name)] for each in names)):
            self._report(path, f"{name} is allowed only at the start of a recipe's transforms ({' then '.join(FIRST)})")
        if name == Code.name and not self.allow_code:
            self._report(path, "user code is not allowed: allow it with PIPELINE_ALLOW_CODE, or remove it")

    def _with_source(self, step: Step, path: KeyPath) -> Step:
        """Replace the module of a step of user code by its text: the session needs it, and the hash covers it."""
        module = step["params"].get("module") if step["name"] == Code.name else None
        if module is None:
            return step
        file = self.code / (module.replace(".", "/") + ".py") if self.code else None
        if file is None or not file.is_file():
            reason = f"the file {file} does not exist" if file else "PIPELINE_CODE_FOLDER is not set"
            self._report(path, f"the module {module!r} is missing: {reason}")
            return step
        try:
            source = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            self._report(path, f"the module {module!r} cannot be read from {file}: {why}")
            return step
        return Step(name=step["name"], params={**step["params"], "source": source, "module": None})

    def _report(self, path: KeyPath, message: str) -> None:
        self.problems.append(self.document.problem(path, message))


def _limits(limits: RecipeLimits | None) -> dict[str, float]:
    return limits.model_dump(exclude_none=True) if limits else {}


def _first(*values: T | None) -> T:
    """Return the first value that is not None."""
    return next(value for value in values if value is not None)
