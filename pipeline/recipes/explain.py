"""What a recipe does, in words: which steps run in which order, and the job document that a session gets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

from pipeline.engine.encode.output import Output
from pipeline.engine.protocol import Job, Limits, Step
from pipeline.engine.transforms.registry import FIRST, TRANSFORMS

from .recipe import Recipe, Rendition

EXAMPLE = "holiday/sea.jpg"


def explain(recipe: Recipe, source_name: str = EXAMPLE) -> str:
    """The recipe step by step, as it will be done to a source of that name."""
    return "\n".join(_lines(recipe, source_name))


def job_text(recipe: Recipe, limits: Limits, formats: Sequence[str]) -> str:
    """The job document that a session gets for this recipe, with made-up file names."""
    files = {each.name: f"out-{index}" for index, each in enumerate(recipe.renditions)}
    assets = {name: f"asset-{index}" for index, name in enumerate(recipe.assets)}
    job: Job = recipe.job(
        source="in.bin", report="report.json", files=files, limits=limits, formats=formats, assets=assets
    )
    return json.dumps(job, indent=2, ensure_ascii=False)


def _lines(recipe: Recipe, source_name: str) -> Iterator[str]:
    yield f"recipe {recipe.name}" + (f": {recipe.description}" if recipe.description else "")
    yield f"  hash       {recipe.hash[:16]}"
    yield f"  takes      {matching(recipe)}"
    yield f"  isolation  {recipe.isolation}" + (" (it brings code of its own)" if recipe.needs_code else "")
    if recipe.limits:
        yield "  limits     " + ", ".join(f"{name} {most:g}" for name, most in recipe.limits.items())
    if recipe.assets:
        yield "  assets     " + ", ".join(recipe.assets)
    yield "  once for each source:"
    for number, line in enumerate(shared(recipe), 1):
        yield f"    {number}. {line}"
    for rendition in recipe.renditions:
        yield f"  rendition {rendition.name} → {path(recipe, rendition, source_name)}"
        for number, line in enumerate(own(rendition), 1):
            yield f"    {number}. {line}"


def matching(recipe: Recipe) -> str:
    """Which sources the recipe takes."""
    if not recipe.include:
        return "only what a request names"
    text = ", ".join(recipe.include)
    return text + (f"; not {', '.join(recipe.exclude)}" if recipe.exclude else "")


def shared(recipe: Recipe) -> Iterator[str]:
    """What is done once for each source, step by step."""
    frame = next((step for step in recipe.steps if step["name"] == "frame"), None)
    yield "tell the format by the first bytes, check the limits" + (
        f", take frame {frame['params']['index']}" if frame else ""
    )
    cut = "leave the rest gray" if recipe.on_truncated == "patch" else "fail"
    yield f"decode once, as small as the renditions allow (cut short: {cut})"
    colours = next((step for step in recipe.steps if step["name"] == "to_srgb"), None)
    yield "convert the colours to sRGB" + (f" ({_changed(colours)})" if colours and _changed(colours) else "")
    yield "turn upright by the EXIF orientation"
    yield from (_step(step) for step in recipe.steps if step["name"] not in FIRST)


def own(rendition: Rendition) -> Iterator[str]:
    """What is done for one rendition alone, step by step."""
    yield from (_step(step) for step in rendition.steps)
    options = ", ".join(f"{name} {_shown(value)}" for name, value in rendition.options().items())
    yield f"encode as {rendition.format}" + (f" ({options})" if options else "")
    usual = vars(Output())
    special = [f"{name} {_shown(value)}" for name, value in vars(rendition.output).items() if value != usual[name]]
    if special:
        yield "with " + ", ".join(special)
    yield "strip metadata, read back, check size and limits" if not rendition.output.keep else "read back, check limits"


def _step(step: Step) -> str:
    changed = _changed(step)
    return step["name"] + (f": {changed}" if changed else "")


def _changed(step: Step) -> str:
    """The parameters that differ from their defaults."""
    usual = {field.name: field.default for field in fields(TRANSFORMS[step["name"]])}
    shown = {name: value for name, value in step["params"].items() if value not in (usual[name], None, {}, [])}
    return ", ".join(f"{name} {_shown(value)}" for name, value in shown.items())


def _shown(value: Any) -> str:  # noqa: ANN401 - any parameter
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    text = str(value)
    return text if "\n" not in text else f"{len(text.splitlines())} lines"


def path(recipe: Recipe, rendition: Rendition, source_name: str) -> str:
    """Where the rendition of that source goes, as far as it can be told before it is made."""
    return recipe.output_path(rendition, source_name) if rendition.path_known else rendition.path
