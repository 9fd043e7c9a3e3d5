"""Pillow's many pixel modes, brought to the three that transforms work on: L, RGB and RGBA."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

WORKING = ("L", "RGB", "RGBA")


def to_working(image: Image.Image) -> Image.Image:
    """`image` in L, RGB or RGBA, without info. Alpha, however it was stored, is kept; 16 bits are scaled, not cut."""
    image.load()
    if image.mode in WORKING and "transparency" not in image.info:
        return without_info(image)
    if image.mode.startswith("I") or image.mode == "F":
        return without_info(_deep_to_gray(image))
    return without_info(image.convert(_target(image)))


def on_colours(image: Image.Image, work: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """`image` with `work` done on its colours (L or RGB) alone, its alpha as it was."""
    if image.mode != "RGBA":
        return work(image)
    alpha = image.getchannel("A")
    done = work(image.convert("RGB")).convert("RGB")
    done.putalpha(alpha)
    return done


def on_premultiplied(image: Image.Image, work: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """`image` with `work` done on all its channels. Colours weigh as much as they are seen, so edges get no halo."""
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
    beyond 16 bits tell the latter. Floats count from 0 to 1 unless they go beyond.
    """
    wide = image if image.mode == "F" else image.convert("I").convert("F")
    low, high = _extrema(wide)
    full = _full_range(image.mode, high)
    del low
    return wide.point(lambda value: value * (255 / full) + 0.5).convert("L")


def _full_range(mode: str, high: float) -> float:
    if mode == "F":
        return 1.0 if high <= 1 else 255.0 if high <= 255 else high
    return 65_535.0 if high <= 65_535 else 4_294_967_295.0 if high > 2_147_483_647 else high


def _extrema(image: Image.Image) -> tuple[float, float]:
    low, high = image.getextrema()
    assert isinstance(low, (int, float))  # noqa: S101 - one band has one pair
    assert isinstance(high, (int, float))  # noqa: S101
    return low, high
