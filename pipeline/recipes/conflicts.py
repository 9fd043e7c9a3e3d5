"""Conflicts between recipes: outputs that match a recipe again, and renditions with the same output path."""

from collections.abc import Callable, Iterator
from functools import partial

from pipeline.recipes import output_paths
from pipeline.recipes.recipe import Recipe, Rendition
from pipeline.recipes.regular_languages import both, either, example
from pipeline.recipes.yaml_loader import Document, Problem


def loops(recipes: list[Recipe], document: Document) -> Iterator[Problem]:
    """Find renditions whose paths may match a recipe, when input and output share a container: an endless loop."""
    matchers = [recipe for recipe in recipes if recipe.include]
    for recipe in recipes:
        for rendition in recipe.renditions:
            yield from _check(document, recipe, rendition, partial(_loop, recipe, rendition, matchers))


def _loop(recipe: Recipe, rendition: Rendition, matchers: list[Recipe]) -> str:
    known = {"recipe": recipe.name, "rendition": rendition.name}
    for matcher in matchers:
        sources, inputs = recipe.sources(), matcher.sources()
        outputs = [output_paths.language(rendition.path, sources, **known, ext=ext) for ext in rendition.extensions]
        name = example(both([either(outputs), inputs]))
        if name is not None:
            return (
                f"endless loop: input and output container are the same, and the outputs {rendition.path!r} of recipe "
                f"{recipe.name!r} can match recipe {matcher.name!r} (for example {name!r}): write to another "
                f"container, or exclude the outputs in the match of {matcher.name!r}"
            )
    return ""


def collisions(recipes: list[Recipe], document: Document) -> Iterator[Problem]:
    """Find renditions that have the same output path for the same source."""
    first: dict[str, tuple[Recipe, Rendition]] = {}
    for recipe in recipes:
        for rendition in recipe.renditions:
            other = first.setdefault(_template(recipe, rendition), (recipe, rendition))
            if other != (recipe, rendition):
                yield from _check(document, recipe, rendition, partial(_collision, recipe, rendition, *other))


def _collision(recipe: Recipe, rendition: Rendition, other: Recipe, earlier: Rendition) -> str:
    if example(both([recipe.sources(), other.sources()])) is None:
        return ""
    return (
        f"{recipe.name}/{rendition.name} and {other.name}/{earlier.name} have the same output path "
        f"{rendition.path!r}: add {{rendition}} to the path, and {{recipe}} if recipes share it"
    )


def _check(document: Document, recipe: Recipe, rendition: Rendition, check: Callable[[], str]) -> Iterator[Problem]:
    """Yield the problem of a rendition, if `check` returns a message or cannot decide."""
    try:
        message = check()
    except (ValueError, RecursionError):
        message = "the globs and paths are too complex to compare: simplify them"
    if message:
        yield document.problem(("recipes", recipe.name, "renditions", rendition.name), message)


def _template(recipe: Recipe, rendition: Rendition) -> str:
    """Return the path with all fields filled in that do not depend on the source. Sizes of two images may be equal."""
    ext = rendition.extension if len(rendition.extensions) == 1 else "*"
    known = {"recipe": recipe.name, "rendition": rendition.name, "ext": ext, "width": "1", "height": "1"}
    template = rendition.path
    for name, value in known.items():
        template = template.replace(f"{{{name}}}", value)
    return template.lower()
