"""Recipes that cannot live together: outputs that would be inputs again, and two outputs in one place."""

from __future__ import annotations

from collections.abc import Iterator

from . import output_paths, regular_languages
from .recipe import Recipe, Rendition
from .yaml_loader import Document, Problem

INTRICATE = "the globs and paths are too intricate to compare: make them simpler"


def loops(recipes: list[Recipe], document: Document) -> Iterator[Problem]:
    """Renditions whose path could match a recipe, where input and output share a container: a job without end."""
    takers = [recipe for recipe in recipes if recipe.include]
    for recipe in recipes:
        for rendition in recipe.renditions:
            place = ("recipes", recipe.name, "renditions", rendition.name)
            for taker in takers:
                try:
                    name = _meeting(recipe, rendition, taker)
                except (ValueError, RecursionError):
                    yield document.problem(place, INTRICATE)
                    break
                if name is not None:
                    yield document.problem(
                        place,
                        f"a loop: input and output container are the same, and what recipe {recipe.name!r} writes to "
                        f"{rendition.path!r} can match recipe {taker.name!r} again (for example {name!r}): write to "
                        f"another container, or exclude the outputs in the match of {taker.name!r}",
                    )
                    break


def _meeting(recipe: Recipe, rendition: Rendition, taker: Recipe) -> str | None:
    """A name that the rendition can get and the other recipe takes."""
    known = {"recipe": recipe.name, "rendition": rendition.name}
    sources, taken = recipe.sources(), taker.sources()
    outputs = [output_paths.language(rendition.path, sources, **known, ext=ext) for ext in rendition.extensions]
    return regular_languages.example(regular_languages.both([regular_languages.either(outputs), taken]))


def collisions(recipes: list[Recipe], document: Document) -> Iterator[Problem]:
    """Renditions that would be written to one place for the same source."""
    first: dict[str, tuple[Recipe, Rendition]] = {}
    for recipe in recipes:
        for rendition in recipe.renditions:
            template = _template(recipe, rendition)
            if template not in first:
                first[template] = (recipe, rendition)
                continue
            other, earlier = first[template]
            place = ("recipes", recipe.name, "renditions", rendition.name)
            try:
                meets = (
                    regular_languages.example(regular_languages.both([recipe.sources(), other.sources()])) is not None
                )
            except (ValueError, RecursionError):
                yield document.problem(place, INTRICATE)
                continue
            if meets:
                yield document.problem(
                    place,
                    f"{recipe.name}/{rendition.name} and {other.name}/{earlier.name} would be written to one place, "
                    f"{rendition.path!r}: put {{rendition}} into the path, and {{recipe}} where recipes share it",
                )


def _template(recipe: Recipe, rendition: Rendition) -> str:
    """The path with all filled in that is known without a source. Two small sources can have any width in common."""
    known = {"recipe": recipe.name, "rendition": rendition.name, "ext": rendition.extension}
    known |= {"width": "1", "height": "1"}
    if len(rendition.extensions) > 1:
        known["ext"] = "*"
    template = rendition.path
    for name, value in known.items():
        template = template.replace(f"{{{name}}}", value)
    return template.lower()
