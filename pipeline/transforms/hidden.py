"""Pixels that are hidden have colours too, mostly black. Here they get such that do not show in those that are seen."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

SAMPLES = 64
"""Side of the grid on which the commonest colour is looked for."""


def hides(image: Image.Image) -> bool:
    """True when some pixel is not seen at all."""
    return image.mode == "RGBA" and image.getchannel("A").getextrema()[0] == 0


def spread(image: Image.Image, reach: float) -> Image.Image:
    """`image` (RGBA) in RGB, with the colours that are seen carried on into what is hidden, as far as `reach` pixels.

    Beyond that lies the mean of what is seen.
    """
    from PIL import Image, ImageFilter

    weighted, seen = image.convert("RGBa"), image.getchannel("A").point([0] + [255] * 255)
    mean = weighted.resize((1, 1), Image.Resampling.BOX, image.getchannel("A").getbbox())
    ground = mean.convert("RGBA").convert("RGB").resize(image.size)
    for radius, least in ((reach, 8), (max(1.0, reach / 4), 32)):
        near = weighted.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        # Of little alpha, colours are known with too few digits.
        known = near.getchannel("A").point([0] * least + [255] * (256 - least))
        ground.paste(near.convert("RGB"), (0, 0), known)
    ground.paste(image.convert("RGB"), (0, 0), seen)
    return ground


def painted(image: Image.Image, clear: Image.Image) -> Image.Image:
    """`image` (RGBA) in RGB, with the commonest of its colours where the mask `clear` is white: no new colour."""
    colours = image.convert("RGB")
    colours.paste(_commonest(colours, clear), (0, 0, *image.size), clear)
    return colours


def _commonest(colours: Image.Image, clear: Image.Image) -> tuple[int, int, int]:
    """About the commonest colour outside of the mask; black when there is nothing."""
    from PIL import Image, ImageChops

    box = ImageChops.invert(clear).getbbox()
    if box is None:
        return 0, 0, 0
    size = (min(SAMPLES, box[2] - box[0]), min(SAMPLES, box[3] - box[1]))
    body, mask = (each.crop(box).resize(size, Image.Resampling.NEAREST).tobytes() for each in (colours, clear))
    found = Counter(body[3 * at : 3 * at + 3] for at, hidden in enumerate(mask) if not hidden)
    if not found:  # thin lines, between which the grid fell: the first pixel of the first row has one
        row = ImageChops.invert(clear.crop((box[0], box[1], box[2], box[1] + 1))).getbbox()
        seen = colours.getpixel((box[0] + (row[0] if row else 0), box[1]))
        found[bytes(seen)] = 1  # type: ignore[arg-type]
    red, green, blue = max(sorted(found), key=found.__getitem__)
    return red, green, blue
