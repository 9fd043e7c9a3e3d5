"""Pictures and fonts that a recipe names: files that the host put beside the source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .base import Scene
from .errors import Refusal
from .pixel_modes import to_working

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
MOST_PIXELS = 25_000_000


def asset_file(scene: Scene, name: str) -> Path:
    """The file of the asset `name`. Raise Refusal when the host did not send it."""
    file = scene.assets.get(name)
    if file is None or not file.is_file():
        raise Refusal(
            "asset_missing", f"the recipe needs the asset {name!r}, which is not there: upload it, or rename it"
        )
    return file


def asset_image(scene: Scene, name: str) -> Image.Image:
    """The picture `name` in RGBA, for the caller to change; read once per job."""
    return scene.decide(("asset", name), lambda: _read(asset_file(scene, name), name)).copy()


def _read(file: Path, name: str) -> Image.Image:
    from PIL import Image

    try:
        with file.open("rb") as stream, Image.open(stream, formats=FORMATS) as image:
            small = image.width * image.height <= MOST_PIXELS
            picture = to_working(image).convert("RGBA") if small else None
    except MemoryError:
        raise
    except Exception as error:
        text = f"the asset {name!r} is no picture that can be read ({error}): use PNG, JPEG, WebP or GIF"
        raise Refusal("asset_unusable", text) from error
    if picture is None:
        raise Refusal("asset_unusable", f"the asset {name!r} has over {MOST_PIXELS:,} pixels: make it smaller")
    return picture
