"""Assets: images and fonts that a recipe names, which the host uploads next to the source."""

from __future__ import annotations

from pathlib import Path

from .. import pil
from ..base import TransformContext
from ..errors import EngineError
from ..pixel_modes import to_working

ASSET_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
MAX_ASSET_PIXELS = 25_000_000


def asset_file(context: TransformContext, name: str) -> Path:
    """Return the file of the asset `name`.

    Raises:
        EngineError: the host did not upload the asset.
    """
    file = context.assets.get(name)
    if file is None or not file.is_file():
        raise EngineError(
            "asset_missing",
            f"the recipe needs the asset {name!r}, which does not exist: upload it, or correct the name",
        )
    return file


def load_asset_image(context: TransformContext, name: str) -> pil.Image.Image:
    """Return a copy of the asset image `name` in RGBA. Its file is read once per job."""
    return context.decide_once(("asset", name), lambda: _read(asset_file(context, name), name)).copy()


def _read(file: Path, name: str) -> pil.Image.Image:
    """Read an asset image."""
    try:
        with file.open("rb") as stream, pil.Image.open(stream, formats=ASSET_FORMATS) as image:
            small = image.width * image.height <= MAX_ASSET_PIXELS
            picture = to_working(image).convert("RGBA") if small else None
    except MemoryError:
        raise
    except Exception as error:
        raise EngineError(
            "asset_unusable", f"the asset {name!r} cannot be read as an image ({error}): use PNG, JPEG, WebP or GIF"
        ) from error
    if picture is None:
        raise EngineError(
            "asset_unusable", f"the asset {name!r} has more than {MAX_ASSET_PIXELS:,} pixels: make it smaller"
        )
    return picture
