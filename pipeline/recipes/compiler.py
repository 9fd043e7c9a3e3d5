"""From the checked file to recipes: defaults filled in, blocks put in place, widths made into renditions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

from pipeline.engine.protocol import Step
from pipeline.engine.transforms.code import Code
from pipeline.engine.transforms.registry import FIRST
from pipeline.engine.transforms.resize import Resize

from . import output_paths
from .error_messages import did_you_mean
from .model import FileModel, RecipeLimits, RecipeModel, RenditionModel
from .recipe import Recipe, Rendition
from .steps import StepModel, Use
from .yaml_loader import Document, KeyPath, Problem

T = TypeVar("T")


@dataclass
class RecipeCompiler:
    """Builds the recipes of a file, and collects what is wrong with them. `code` is the folder of modules, if any."""

    model: FileModel
    document: Document
    code: Path | None = None
    allow_code: bool = False
    problems: list[Problem] = field(default_factory=list)

    def recipes(self) -> list[Recipe]:
        """Every recipe, in the order of the file."""
        return [self._recipe(name, model) for name, model in self.model.recipes.items()]

    def _recipe(self, name: str, model: RecipeModel) -> Recipe:
        at: KeyPath = ("recipes", name)
        defaults = self.model.defaults
        steps = self._steps(model.transforms, (*at, "transforms"), leading=True)
        renditions = tuple(self._renditions(model, at))
        with_code = any(step["name"] == Code.name for each in (steps, *(r.steps for r in renditions)) for step in each)
        isolation = _first(model.isolation, defaults.isolation, "shared")
        return Recipe(
            name=name,
            include=tuple(model.match.include) if model.match else (),
            exclude=tuple(model.match.exclude) if model.match else (),
            sizes=(model.match.size.min, model.match.size.max) if model.match and model.match.size else (0, None),
            content_types=tuple(model.match.content_type or ()) if model.match else (),
            exclusive=model.exclusive,
            steps=tuple(steps),
            renditions=renditions,
            isolation="single" if with_code else isolation,
            on_truncated=_first(model.on_truncated, defaults.on_truncated, "fail"),
            limits=_limits(model.limits, defaults.limits),
            carry=tuple(_first(model.carry, defaults.carry, [])),
            description=model.description or "",
        )

    def _renditions(self, model: RecipeModel, at: KeyPath) -> Iterator[Rendition]:
        seen: set[str] = set()
        for name, each in model.renditions.items():
            place = (*at, "renditions", name)
            steps = self._steps(each.transforms, (*place, "transforms"), leading=False)
            widths = list[int | None](each.widths or ()) or [None]
            for width in widths:
                full = name if width is None else f"{name}-{width}"
                if full in seen or (full != name and full in model.renditions):
                    self._complain((*place, "widths"), f"there are two renditions {full!r}: name one of them otherwise")
                seen.add(full)
                yield self._rendition(full, each, model, steps if width is None else [*steps, _to_width(width)])

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

    def _steps(self, models: list[StepModel | Use], at: KeyPath, *, leading: bool) -> list[Step]:
        """The transforms of a list, its blocks opened. `leading`: it may start with those that always come first."""
        steps: list[Step] = []
        for index, model in enumerate(models):
            found = self._block(model, (*at, index)) if isinstance(model, Use) else [model]
            for step in found:
                self._check(step, (*at, index), steps, leading=leading)
                steps.append(self._with_code(step.step(), (*at, index)))
        return steps

    def _block(self, use: Use, at: KeyPath) -> list[StepModel]:
        block = self.model.blocks.get(use.use)
        if block is None:
            known = did_you_mean(use.use, self.model.blocks) if self.model.blocks else "the file has no blocks"
            self._complain(at, f"there is no block {use.use!r}; {known}")
        return block or []

    def _check(self, step: StepModel, at: KeyPath, before: list[Step], *, leading: bool) -> None:
        name = step.transform().name
        names = [each["name"] for each in before]
        if name in FIRST and not (leading and all(each in FIRST[: FIRST.index(name)] for each in names)):
            order = " then ".join(FIRST)
            self._complain(at, f"{name} may stand only at the start of a recipe's own transforms ({order})")
        if name == Code.name and not self.allow_code:
            self._complain(at, "recipes may not bring code of their own: allow it in the settings, or remove it")

    def _with_code(self, step: Step, at: KeyPath) -> Step:
        """A step of code with the text of its module, so that the session needs no more and the hash knows it."""
        module = step["params"].get("module") if step["name"] == Code.name else None
        if module is None:
            return step
        file = self.code / (module.replace(".", "/") + ".py") if self.code else None
        if file is None or not file.is_file():
            where = f"the file {file} does not exist" if file else "the settings name no folder of code"
            self._complain(at, f"the module {module!r} cannot be found: {where}")
            return step
        try:
            source = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            self._complain(at, f"the module {module!r} cannot be read from {file}: {why}")
            return step
        params = {**step["params"], "source": source, "module": None}
        return Step(name=step["name"], params=params)

    def _complain(self, at: KeyPath, message: str) -> None:
        self.problems.append(self.document.problem(at, message))


def _to_width(width: int) -> Step:
    return Step(name=Resize.name, params=asdict(Resize(width=width)))


def _limits(*layers: RecipeLimits | None) -> dict[str, float]:
    """The limits by name; an earlier layer goes before a later one."""
    found: dict[str, float] = {}
    for layer in reversed(layers):
        found |= layer.model_dump(exclude_none=True) if layer else {}
    return found


def _first(*values: T | None) -> T:
    """The first that is not None."""
    return next(value for value in values if value is not None)
