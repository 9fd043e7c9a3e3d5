"""Pixel modes: convert Pillow's many modes to L, RGB and RGBA, the modes of transforms."""

from __future__ import annotations

import array
from collections.abc import Callable

from . import pil

WORKING_MODES = ("L", "RGB", "RGBA")

NO_VALUE_LIMIT = 1e37
"""Floats from this size on, and NaN, stand for unknown pixels, as in elevation maps."""


def to_working(image: pil.Image.Image) -> pil.Image.Image:
    """Convert an image to L, RGB or RGBA without info.

    Keep alpha in any form. Scale 16 bits, do not clip. Inks without a profile are those of coated paper.
    """
    image.load()
    if image.mode in WORKING_MODES and "transparency" not in image.info:
        return without_info(image)
    if image.mode.startswith("I") or image.mode == "F":
        return without_info(_with_clear_level(_deep_to_gray(image), image))
    if image.mode == "CMYK":
        from .cmyk import cmyk_to_srgb

        return without_info(cmyk_to_srgb(image))
    return without_info(image.convert(_target(image)))


def scale_clear_color(image: pil.Image.Image) -> None:
    """Convert the declared transparent color of an opened PNG to the depth of its decoded pixels.

    Pillow reports the color in the depth of the file. For 2, 4 and 3 × 16 bits (before Pillow 12 also 1 bit) it then
    matches no pixel.
    """
    tiles, clear = getattr(image, "tile", None), image.info.get("transparency")
    stored = tiles[0][3] if tiles else None
    if isinstance(clear, int) and stored in ("1", "L;2", "L;4"):
        image.info["transparency"] = min(clear * {"1": 255, "L;2": 85, "L;4": 17}[stored], 255)
    if isinstance(clear, tuple) and stored == "RGB;16B":
        image.info["transparency"] = tuple(level >> 8 for level in clear)


def on_colors(image: pil.Image.Image, work: Callable[[pil.Image.Image], pil.Image.Image]) -> pil.Image.Image:
    """Apply `work` to the colors (L or RGB) of an image and keep its alpha."""
    if image.mode != "RGBA":
        return work(image)
    return with_alpha(work(image.convert("RGB")), image)


def with_alpha(colors: pil.Image.Image, image: pil.Image.Image) -> pil.Image.Image:
    """Return `colors` in RGBA with the alpha of `image`."""
    done = colors.convert("RGB")
    done.putalpha(image.getchannel("A"))
    return done


def on_premultiplied(image: pil.Image.Image, work: Callable[[pil.Image.Image], pil.Image.Image]) -> pil.Image.Image:
    """Apply `work` to all channels, with colors weighted by alpha so that edges get no halo."""
    return work(image.convert("RGBa")).convert("RGBA") if image.mode == "RGBA" else work(image)


def without_info(image: pil.Image.Image) -> pil.Image.Image:
    """Clear the info of an image, since Pillow's encoders write metadata from it. Return the image."""
    image.info = {}
    return image


def _target(image: pil.Image.Image) -> str:
    """Choose the working mode for an image."""
    if "transparency" in image.info or image.mode in {"PA", "LA", "La", "RGBa", "RGBA"}:
        return "RGBA"
    if image.mode == "1":
        return "L"
    if image.mode == "P" and image.palette is not None and image.palette.mode == "RGBA":
        return "RGBA"
    return "RGB"


def _deep_to_gray(image: pil.Image.Image) -> pil.Image.Image:
    """Scale 16 or 32 bits (or floats) per pixel to 8 by the range of the type, or of the values where it has none.

    Pillow's own conversion clips values over 255. "I" is the mode of 16-bit and 32-bit files; values beyond 16 bits
    indicate the latter. Floats range from 0 to 1, or to 255, unless they exceed that.
    """
    wide = image if image.mode == "F" else image.convert("I").convert("F")
    full = _full_range(image.mode, _highest(wide))
    return wide.point(lambda value: value * (255 / full) + 0.5).convert("L")


def _with_clear_level(gray: pil.Image.Image, deep: pil.Image.Image) -> pil.Image.Image:
    """Add alpha to `gray` where `deep`, its source, declares one level transparent."""
    level = deep.info.get("transparency")
    if not isinstance(level, int) or deep.mode == "F":
        return gray
    alpha = pil.ImageMath.lambda_eval(lambda each: (each["deep"] != level) * 255, deep=deep.convert("I")).convert("L")
    return pil.Image.merge("RGBA", (gray, gray, gray, alpha))


def _full_range(mode: str, high: float) -> float:
    """Return the value that stands for white."""
    if mode == "F" and high <= 255:
        return 1.0 if high <= 1 else 255.0
    return 65_535.0 if mode != "F" and high <= 65_535 else high


def _highest(image: pil.Image.Image) -> float:
    """Return the highest known value of an image with one band."""
    low, high = image.getextrema()
    assert isinstance(low, (int, float)) and isinstance(high, (int, float))  # noqa: S101, PT018 - one band has one pair
    if abs(low) < NO_VALUE_LIMIT and abs(high) < NO_VALUE_LIMIT:
        return high
    # Unknown pixels (NaN or infinite) must not decide the brightness of the others.
    return max((value for value in array.array("f", image.tobytes()) if abs(value) < NO_VALUE_LIMIT), default=1.0)
