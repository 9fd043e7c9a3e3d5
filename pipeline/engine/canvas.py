"""Canvas: put pixels on a background."""

from __future__ import annotations

from . import pil
from .errors import EngineError
from .geometry import place
from .image_view import Size

Rgba = tuple[int, int, int, int]


def on_canvas(image: pil.Image.Image, size: Size, anchor: tuple[float, float], color: Rgba) -> pil.Image.Image:
    """Place `image` on a canvas of `size` pixels filled with `color`; `anchor` divides the free space.

    The result is RGBA when the color or the image has alpha, else RGB.
    """
    mode = "RGBA" if color[3] < 255 or image.mode == "RGBA" else "RGB"
    canvas = pil.Image.new(mode, size, color if mode == "RGBA" else color[:3])
    corner = place(image.size, size, anchor)
    if image.mode == "RGBA":
        canvas.alpha_composite(image, corner)
    else:
        canvas.paste(image.convert(mode), corner)
    return canvas


def flatten(image: pil.Image.Image, color: Rgba) -> pil.Image.Image:
    """Composite an RGBA image onto `color` and return it in RGB. Return other images unchanged."""
    if image.mode != "RGBA":
        return image
    return on_canvas(image, image.size, (0, 0), (*color[:3], 255)).convert("RGB")


def check_canvas(size: Size, limit: int, step: str) -> None:
    """Check the size of a result that a transform is about to create.

    Raises:
        EngineError: the result has more than `limit` pixels, or a side of more than 65,535 pixels.
    """
    if size[0] * size[1] > limit or max(size) > 65_535:
        raise EngineError(
            "rendition_too_large",
            f"{step} would make {size[0]:,}×{size[1]:,} pixels; the limit is {limit:,}: resize the image first",
        )
