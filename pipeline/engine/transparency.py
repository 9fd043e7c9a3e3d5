"""Pixels that are hidden have colors too, mostly black. Here they get such that do not show in those that are seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

SAMPLE_SIDE_PIXELS = 64
"""Side of the grid on which colors are looked at."""


def has_hidden_pixels(image: Image.Image) -> bool:
    """True when some pixel is not seen at all."""
    return image.mode == "RGBA" and image.getchannel("A").getextrema()[0] == 0


def bleed_colors(image: Image.Image, reach: float) -> Image.Image:
    """`image` (RGBA) in RGB, with the colors that are seen carried on into what is hidden, as far as `reach` pixels.

    Beyond that lies the mean of what is seen.
    """
    from PIL import Image, ImageFilter

    weighted, seen = image.convert("RGBa"), image.getchannel("A").point([0] + [255] * 255)
    mean = weighted.resize((1, 1), Image.Resampling.BOX, image.getchannel("A").getbbox())
    ground = mean.convert("RGBA").convert("RGB").resize(image.size)
    for radius, least in ((reach, 8), (max(1.0, reach / 4), 32)):
        near = weighted.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        # Of little alpha, colors are known with too few digits.
        known = near.getchannel("A").point([0] * least + [255] * (256 - least))
        ground.paste(near.convert("RGB"), (0, 0), known)
    ground.paste(image.convert("RGB"), (0, 0), seen)
    return ground


def fill_transparent(image: Image.Image, clear: Image.Image) -> Image.Image:
    """`image` (RGBA) in RGB, with colors of its own where the mask `clear` is white, each as often as it is seen.

    A palette for all of it is one for what is seen.
    """
    from PIL import Image

    colors, count = image.convert("RGB"), image.width * image.height
    seen = _samples(colors, clear)
    if seen:
        fill = (seen * (3 * count // len(seen) + 1))[: 3 * count]
        colors.paste(Image.frombytes("RGB", image.size, fill), (0, 0), clear)
    return colors


def _samples(colors: Image.Image, clear: Image.Image) -> bytes:
    """Colors from outside of the mask, three bytes each; nothing when the mask is all there is."""
    from PIL import Image, ImageChops

    box = ImageChops.invert(clear).getbbox()
    if box is None:
        return b""
    size = (min(SAMPLE_SIDE_PIXELS, box[2] - box[0]), min(SAMPLE_SIDE_PIXELS, box[3] - box[1]))
    body, mask = (each.crop(box).resize(size, Image.Resampling.NEAREST).tobytes() for each in (colors, clear))
    found = b"".join(body[3 * at : 3 * at + 3] for at, hidden in enumerate(mask) if not hidden)
    if found:
        return found
    # Thin lines, between which the grid fell: the first pixel of the first row that has one.
    row = (box[0], box[1], box[2], box[1] + 1)
    left = ImageChops.invert(clear.crop(row)).getbbox() or (0,)
    return colors.crop((box[0] + left[0], box[1], box[0] + left[0] + 1, box[1] + 1)).tobytes()
