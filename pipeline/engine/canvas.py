"""Putting pixels on a background."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import EngineError
from .geometry import place
from .image_view import Size

if TYPE_CHECKING:
    from PIL import Image

Rgba = tuple[int, int, int, int]


def on_canvas(image: Image.Image, size: Size, anchor: tuple[float, float], color: Rgba) -> Image.Image:
    """`image` on a canvas of `size` in `color`. The canvas has alpha when the color or the image has."""
    from PIL import Image

    mode = "RGBA" if color[3] < 255 or image.mode == "RGBA" else "RGB"
    canvas = Image.new(mode, size, color if mode == "RGBA" else color[:3])
    corner = place(image.size, size, anchor)
    if image.mode == "RGBA":
        canvas.alpha_composite(image, corner)
    else:
        canvas.paste(image.convert(mode), corner)
    return canvas


def flatten(image: Image.Image, color: Rgba) -> Image.Image:
    """`image` without its alpha, on `color`; an image without alpha as it is."""
    if image.mode != "RGBA":
        return image
    return on_canvas(image, image.size, (0, 0), (*color[:3], 255)).convert("RGB")


def check_canvas(size: Size, limit: int, step: str) -> None:
    """Refusal when a step would make more than `most` pixels, or a side that no format can hold."""
    if size[0] * size[1] > limit or max(size) > 65_535:
        raise EngineError(
            "rendition_too_large",
            f"{step} would make {size[0]:,}×{size[1]:,} pixels; the limit is {limit:,}: resize the picture first",
        )
