"""The example recipe files load, and each of their recipes renders an image."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipeline import recipes
from pipeline.engine.execution.jobs import execute_job
from pipeline.engine.protocol import Job, Limits
from pipeline.recipes import explain
from tests.images import size

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "examples").glob("*.yaml"))
LOADED = {file.stem: recipes.load(file) for file in FILES}
PAIRS = [(file, recipe.name) for file, loaded in LOADED.items() for recipe in loaded]
LIMITS = Limits(max_pixels=100_000_000, max_frames=500, max_rendition_bytes=50_000_000, max_rendition_pixels=50_000_000)
SOURCES = {
    "shop": {"product": "products/shirts/4711.jpg", "banner": "banners/summer.png"},
    "photo-archive": {"access": "archive/1962/a.tif", "first_page": "documents/1962/letter.tiff"},
    "avatars": {"avatar": "avatars/4711/photo.png"},
    "user-uploads": {"screenshot": "acme/screenshots/a.png", "post": "acme/2026/11/photo.jpg"},
}
NOT_MATCHED = {
    "shop": "products/shirts/raw/4711.jpg",
    "photo-archive": "archive/1962/duplicates/a.tif",
    "avatars": "headers/4711.png",
    "user-uploads": "loose.jpg",
}


def test_the_readme_lists_every_example() -> None:
    page = (ROOT / "examples" / "README.md").read_text()
    assert len(FILES) == 4
    assert {f"{file.name}" for file in FILES} == set(re.findall(r"\]\(([\w-]+\.yaml)\)", page))


@pytest.mark.parametrize("name", SOURCES)
def test_recipes_match_their_sources(name: str) -> None:
    loaded = LOADED[name]
    for recipe, source in SOURCES[name].items():
        assert [each.name for each in loaded.match(source, size=1000, content_type="image/png")] == [recipe]
    assert not loaded.match(NOT_MATCHED[name], size=1000, content_type="image/png")


@pytest.mark.parametrize(("file", "name"), PAIRS)
def test_each_recipe_renders_the_sample_image(file: str, name: str, tmp_path: Path) -> None:
    recipe = LOADED[file].get(name)
    job: Job = json.loads(explain.job_text(recipe, LIMITS, ["JPEG"]))
    (tmp_path / "in.bin").write_bytes((ROOT / "scripts" / "az" / "photo.jpg").read_bytes())
    report = execute_job(job, tmp_path)
    assert report["failure"] is None
    assert [each["name"] for each in report["renditions"]] == [each.name for each in recipe.renditions]
    if name == "product":
        (zoom,) = [each["file"] for each in report["renditions"] if each["name"] == "zoom"]
        assert size((tmp_path / zoom).read_bytes()) == (1600, 1600)
