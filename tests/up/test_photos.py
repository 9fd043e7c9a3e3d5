"""The files that the demo selects from a folder, and the names of their blobs."""

from __future__ import annotations

import os
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
    assert [photo.name for photo in photos_in_folder(tmp_path).usable] == ["a.jpg", "nested/e.jpg"]


def test_a_backslash_becomes_a_slash_as_in_storage(tmp_path: Path) -> None:
    create_files(tmp_path, r"back\slash.jpg")
    (photo,) = photos_in_folder(tmp_path).usable
    assert (photo.name, photo.size) == ("back/slash.jpg", 1)
    create_files(tmp_path, "back/slash.jpg")
    found = photos_in_folder(tmp_path)
    assert [photo.path for photo in found.usable] == [tmp_path / "back/slash.jpg"]
    (fault,) = found.faults
    assert "another file has that name" in fault


def test_files_whose_names_no_blob_can_have_are_left_out(tmp_path: Path) -> None:
    names = ["a.jpg", os.fsdecode(b"b\xfc.jpg"), os.fsdecode(b"\xe4/c.jpg"), "d\n.jpg", "e" * 250 + "/x.jpg"]
    create_files(tmp_path, *names)
    found = photos_in_folder(tmp_path)
    assert [photo.name for photo in found.usable] == ["a.jpg", names[4]]
    assert sorted(found.faults) == [
        "\\xe4/c.jpg: its name is not UTF-8: rename the file",
        "b\\xfc.jpg: its name is not UTF-8: rename the file",
        "d\\n.jpg: its name has a control character: rename the file",
    ]


def test_a_folder_without_usable_files_is_an_error(tmp_path: Path) -> None:
    create_files(tmp_path, os.fsdecode(b"b\xfc.jpg"))
    with pytest.raises(DevstackError, match="not UTF-8"):
        photos_in_folder(tmp_path)


@pytest.mark.parametrize(
    ("name", "recipes"),
    [
        *((name, ["web"]) for name in ("IMG_1.HEIC", "a/b.heif", "a.jfif", "a.jpe", "a.pjpeg")),
        *((name, []) for name in ("a/.thumbs/t.jpg", ".thumbs/t.jpg", "a/.t.jpg")),
    ],
)
def test_the_shipped_recipes_match_photos_but_no_hidden_files(name: str, recipes: list[str]) -> None:
    shipped = load(ROOT / "recipes.yaml")
    assert [recipe.name for recipe in shipped.match(name)] == recipes
