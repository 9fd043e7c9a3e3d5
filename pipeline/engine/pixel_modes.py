"""Pillow's many pixel modes, brought to the three that transforms work on: L, RGB and RGBA."""

from __future__ import annotations

import array
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

WORKING_MODES = ("L", "RGB", "RGBA")

NO_VALUE_LIMIT = 1e37
"""Floats from here on (or none at all) stand for pixels of which nothing is known, as maps have them."""


def to_working(image: Image.Image) -> Image.Image:
    """`image` in L, RGB or RGBA, without info. Alpha, however it was stored, is kept; 16 bits are scaled, not cut."""
    image.load()
    if image.mode in WORKING_MODES and "transparency" not in image.info:
        return without_info(image)
    if image.mode.startswith("I") or image.mode == "F":
        return without_info(_with_clear_level(_deep_to_gray(image), image))
    return without_info(image.convert(_target(image)))


def scale_clear_color(image: Image.Image) -> None:
    """Of an opened PNG: the color that is declared clear, as its pixels will have it.

    Pillow tells it in the depth of the file, and then does not find it where that is 2, 4 or 3 × 16 bits (or, before
    12, 1).
    """
    tiles, clear = getattr(image, "tile", None), image.info.get("transparency")
    stored = tiles[0][3] if tiles else None
    if isinstance(clear, int) and stored in ("1", "L;2", "L;4"):
        image.info["transparency"] = min(clear * {"1": 255, "L;2": 85, "L;4": 17}[stored], 255)
    if isinstance(clear, tuple) and stored == "RGB;16B":
        image.info["transparency"] = tuple(level >> 8 for level in clear)


def on_colors(image: Image.Image, work: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """`image` with `work` done on its colors (L or RGB) alone, its alpha as it was."""
    if image.mode != "RGBA":
        return work(image)
    return with_alpha(work(image.convert("RGB")), image)


def with_alpha(colors: Image.Image, image: Image.Image) -> Image.Image:
    """`colors` in RGBA, with the alpha of `image`."""
    done = colors.convert("RGB")
    done.putalpha(image.getchannel("A"))
    return done


def on_premultiplied(image: Image.Image, work: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """`image` with `work` done on all its channels. Colors weigh as much as they are seen, so edges get no halo."""
    return work(image.convert("RGBa")).convert("RGBA") if image.mode == "RGBA" else work(image)


def without_info(image: Image.Image) -> Image.Image:
    """`image` with an empty info: Pillow's encoders read it, and would write metadata that nobody asked for."""
    image.info = {}
    return image


def _target(image: Image.Image) -> str:
    if "transparency" in image.info or image.mode in {"PA", "LA", "La", "RGBa", "RGBA"}:
        return "RGBA"
    if image.mode == "1":
        return "L"
    if image.mode == "P" and image.palette is not None and image.palette.mode == "RGBA":
        return "RGBA"
    return "RGB"


def _deep_to_gray(image: Image.Image) -> Image.Image:
    """16 and 32 bits (or floats) per pixel as 8: scaled by the range of the type, or of the values where it has none.

    Pillow's own conversion would cut off everything over 255. "I" is what 16-bit and 32-bit files both become; values
    beyond 16 bits tell the latter. Floats count from 0 to 1, or to 255, unless they go beyond.
    """
    wide = image if image.mode == "F" else image.convert("I").convert("F")
    full = _full_range(image.mode, _highest(wide))
    return wide.point(lambda value: value * (255 / full) + 0.5).convert("L")


def _with_clear_level(gray: Image.Image, deep: Image.Image) -> Image.Image:
    """`gray` with alpha where one level of the `deep` image it was made of is declared to be clear."""
    from PIL import Image, ImageMath

    level = deep.info.get("transparency")
    if not isinstance(level, int) or deep.mode == "F":
        return gray
    alpha = ImageMath.lambda_eval(lambda each: (each["deep"] != level) * 255, deep=deep.convert("I")).convert("L")
    return Image.merge("RGBA", (gray, gray, gray, alpha))


def _full_range(mode: str, high: float) -> float:
    if mode == "F" and high <= 255:
        return 1.0 if high <= 1 else 255.0
    return 65_535.0 if mode != "F" and high <= 65_535 else high


def _highest(image: Image.Image) -> float:
    low, high = image.getextrema()
    assert isinstance(low, (int, float)) and isinstance(high, (int, float))  # noqa: S101, PT018 - one band, one pair
    if abs(low) < NO_VALUE_LIMIT and abs(high) < NO_VALUE_LIMIT:
        return high
    # Pixels without a value (no number, or no end) must not decide how bright the others are.
    return max((value for value in array.array("f", image.tobytes()) if abs(value) < NO_VALUE_LIMIT), default=1.0)
