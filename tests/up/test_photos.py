"""Which files of a folder the demo takes, and what they are called in storage."""

from __future__ import annotations

from pathlib import Path

import pytest

from devstack.demo.photos import of_folder
from devstack.errors import DemoError
from pipeline.recipes import load

ROOT = Path(__file__).parents[2]


def files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_hidden_files_and_those_in_hidden_folders_are_left_out(tmp_path: Path) -> None:
    files(tmp_path, "a.jpg", ".b.jpg", ".c/d.jpg", "nested/.thumbs/t.jpg", "nested/e.jpg")
    assert [photo.name for photo in of_folder(tmp_path)] == ["a.jpg", "nested/e.jpg"]


def test_a_backslash_is_the_slash_that_storage_makes_of_it(tmp_path: Path) -> None:
    files(tmp_path, r"back\slash.jpg")
    (photo,) = of_folder(tmp_path)
    assert (photo.name, photo.size) == ("back/slash.jpg", 1)
    files(tmp_path, "back/slash.jpg")
    with pytest.raises(DemoError, match="two files would be the blob"):
        of_folder(tmp_path)


@pytest.mark.parametrize(
    ("name", "recipes"),
    [("IMG_1.HEIC", ["web"]), ("a/b.heif", ["web"]), ("a/.thumbs/t.jpg", []), (".thumbs/t.jpg", []), ("a/.t.jpg", [])],
)
def test_the_shipped_recipes_take_phone_photos_and_nothing_hidden(name: str, recipes: list[str]) -> None:
    shipped = load(ROOT / "recipes.yaml", input_container="input", output_container="output")
    assert [recipe.name for recipe in shipped.match(name)] == recipes
