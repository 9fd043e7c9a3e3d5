"""The files that the demo selects from a folder, and the names of their blobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from devstack.demo.photos import photos_in_folder
from devstack.errors import DevstackError
from pipeline.recipes import load

ROOT = Path(__file__).parents[2]


def create_files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_hidden_files_and_folders_are_ignored(tmp_path: Path) -> None:
    create_files(tmp_path, "a.jpg", ".b.jpg", ".c/d.jpg", "nested/.thumbs/t.jpg", "nested/e.jpg")
    assert [photo.name for photo in photos_in_folder(tmp_path)] == ["a.jpg", "nested/e.jpg"]


def test_a_backslash_becomes_a_slash_as_in_storage(tmp_path: Path) -> None:
    create_files(tmp_path, r"back\slash.jpg")
    (photo,) = photos_in_folder(tmp_path)
    assert (photo.name, photo.size) == ("back/slash.jpg", 1)
    create_files(tmp_path, "back/slash.jpg")
    with pytest.raises(DevstackError, match="two files would become the blob"):
        photos_in_folder(tmp_path)


@pytest.mark.parametrize(
    ("name", "recipes"),
    [("IMG_1.HEIC", ["web"]), ("a/b.heif", ["web"]), ("a/.thumbs/t.jpg", []), (".thumbs/t.jpg", []), ("a/.t.jpg", [])],
)
def test_the_shipped_recipes_match_photos_but_no_hidden_files(name: str, recipes: list[str]) -> None:
    shipped = load(ROOT / "recipes.yaml")
    assert [recipe.name for recipe in shipped.match(name)] == recipes
