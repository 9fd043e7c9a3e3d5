"""Explain a recipe: its steps in their order, and the job document of a session."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

from pipeline.engine.encode.output import Output
from pipeline.engine.protocol import Job, Limits, Step
from pipeline.engine.transforms.registry import FIRST, TRANSFORMS
from pipeline.recipes.recipe import Recipe, Rendition

EXAMPLE = "holiday/sea.jpg"


def explain(recipe: Recipe, source_name: str = EXAMPLE) -> str:
    """Return the explanation of a recipe, with the output paths for a source."""
    user_code = " (user code)" if recipe.has_code else ""
    facts = {
        "hash": recipe.hash[:16],
        "matches": match_rules(recipe),
        "isolation": f"{recipe.isolation}{user_code}",
        "limits": ", ".join(f"{name} {limit:g}" for name, limit in recipe.limits.items()),
        "assets": ", ".join(recipe.assets),
    }
    lines = [f"recipe {recipe.name}" + (f": {recipe.description}" if recipe.description else "")]
    lines += [f"  {name:<10} {text}" for name, text in facts.items() if text]
    lines += ["  once per source:", *_numbered(source_steps(recipe))]
    for rendition in recipe.renditions:
        lines += [
            f"  rendition {rendition.name} → {output_path(recipe, rendition, source_name)}",
            *_numbered(rendition_steps(rendition)),
        ]
    return "\n".join(lines)


def _numbered(steps: Iterator[str]) -> Iterator[str]:
    return (f"    {number}. {step}" for number, step in enumerate(steps, 1))


def job_text(recipe: Recipe, limits: Limits, formats: Sequence[str]) -> str:
    """Return the job document of a session as JSON, with example file names."""
    files = {each.name: f"out-{index}" for index, each in enumerate(recipe.renditions)}
    assets = {name: f"asset-{index}" for index, name in enumerate(recipe.assets)}
    job: Job = recipe.job(
        source="in.bin", report="report.json", files=files, limits=limits, formats=formats, assets=assets
    )
    return json.dumps(job, indent=2, ensure_ascii=False)


def match_rules(recipe: Recipe) -> str:
    """Return the globs of the recipe."""
    if not recipe.include:
        return "only requests that name it"
    return ", ".join(recipe.include) + (f"; not {', '.join(recipe.exclude)}" if recipe.exclude else "")


def source_steps(recipe: Recipe) -> Iterator[str]:
    """Yield the steps that are executed once per source."""
    first = {step["name"]: step for step in recipe.steps if step["name"] in FIRST}
    frame = f", select frame {first['frame']['params']['index']}" if "frame" in first else ""
    yield f"detect the format, check the limits{frame}"
    truncated = "fill the rest with gray" if recipe.on_truncated == "patch" else "fail"
    yield f"decode once, as small as the renditions allow (truncated files: {truncated})"
    options = _changed(first["to_srgb"]) if "to_srgb" in first else ""
    yield "convert the colors to sRGB" + (f" ({options})" if options else "")
    if recipe.hdr == "refuse":
        yield "refuse HDR images (PQ, HLG)"
    yield "rotate upright by the EXIF orientation"
    yield from (_step(step) for step in recipe.steps if step["name"] not in FIRST)


def rendition_steps(rendition: Rendition) -> Iterator[str]:
    """Yield the steps that are executed for one rendition alone."""
    yield from (_step(step) for step in rendition.steps)
    options = _shown(rendition.options())
    yield f"encode as {rendition.format}" + (f" ({options})" if options else "")
    defaults = vars(Output())
    output = {name: value for name, value in vars(rendition.output).items() if value != defaults[name]}
    if output:
        yield f"with {_shown(output)}"
    yield f"{'' if rendition.output.keep else 'strip metadata, '}decode again, check size and limits"


def _step(step: Step) -> str:
    changed = _changed(step)
    return step["name"] + (f": {changed}" if changed else "")


def _changed(step: Step) -> str:
    """Return the parameters that differ from their defaults."""
    defaults = {field.name: field.default for field in fields(TRANSFORMS[step["name"]])}
    return _shown({k: value for k, value in step["params"].items() if value not in (defaults[k], None, {}, [])})


def _shown(parameters: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_text(value)}" for name, value in parameters.items())


def _text(value: Any) -> str:  # noqa: ANN401 - any parameter
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ",".join(map(str, value))
    text = str(value)
    return text if "\n" not in text else f"{len(text.splitlines())} lines"


def output_path(recipe: Recipe, rendition: Rendition, source_name: str) -> str:
    """Return the output path for a source, or its pattern if it depends on the result."""
    return recipe.output_path(rendition, source_name) if rendition.path_known else rendition.path
