"""Compile the validated model of a recipe file to recipes: fill in defaults, insert blocks, expand widths."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

from pipeline.engine.protocol import Step
from pipeline.engine.transforms.code import Code
from pipeline.engine.transforms.registry import FIRST
from pipeline.engine.transforms.resize import Resize
from pipeline.recipes import output_paths
from pipeline.recipes.error_messages import did_you_mean
from pipeline.recipes.model import FileModel, RecipeLimits, RecipeModel, RenditionModel, Size
from pipeline.recipes.recipe import Recipe, Rendition
from pipeline.recipes.steps import StepModel, Use
from pipeline.recipes.yaml_loader import Document, KeyPath, Problem

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
            hdr=_first(model.hdr, defaults.hdr, "tone_map"),
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
