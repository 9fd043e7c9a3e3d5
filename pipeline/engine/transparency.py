"""Transparency: fill fully transparent pixels with visible colors, so that filters and palettes ignore them.

Transparent pixels have a color too, mostly black.
"""

from __future__ import annotations

from . import pil

SAMPLE_SIDE_PIXELS = 64
"""Side of the grid on which colors are sampled."""


def has_hidden_pixels(image: pil.Image.Image) -> bool:
    """Return True when some pixels are fully transparent."""
    return image.mode == "RGBA" and image.getchannel("A").getextrema()[0] == 0


def has_clear_pixels(image: pil.Image.Image) -> bool:
    """Return True when some pixels are transparent, fully or in part."""
    return image.mode == "RGBA" and image.getchannel("A").getextrema()[0] != 255


def has_partial_alpha(image: pil.Image.Image) -> bool:
    """Return True when some pixels are neither opaque nor fully transparent."""
    return image.mode == "RGBA" and any(image.getchannel("A").histogram()[1:255])


def bleed_colors(image: pil.Image.Image, reach: float) -> pil.Image.Image:
    """Convert an RGBA image to RGB, with visible colors extended into transparent areas by up to `reach` pixels.

    Beyond `reach`, transparent areas get the mean visible color.
    """
    weighted, seen = image.convert("RGBa"), image.getchannel("A").point([0] + [255] * 255)
    mean = weighted.resize((1, 1), pil.Image.Resampling.BOX, image.getchannel("A").getbbox())
    ground = mean.convert("RGBA").convert("RGB").resize(image.size)
    for radius, least in ((reach, 8), (max(1.0, reach / 4), 32)):
        near = weighted.filter(pil.ImageFilter.GaussianBlur(radius)).convert("RGBA")
        # Low alpha leaves too few bits of precision in the color.
        known = near.getchannel("A").point([0] * least + [255] * (256 - least))
        ground.paste(near.convert("RGB"), (0, 0), known)
    ground.paste(image.convert("RGB"), (0, 0), seen)
    return ground


def fill_transparent(image: pil.Image.Image, clear: pil.Image.Image) -> pil.Image.Image:
    """Convert an RGBA image to RGB, and fill the mask `clear` with visible colors in their own proportions.

    A palette for the result is then a palette for the visible part.
    """
    colors, count = image.convert("RGB"), image.width * image.height
    seen = _samples(colors, clear)
    if seen:
        fill = (seen * (3 * count // len(seen) + 1))[: 3 * count]
        colors.paste(pil.Image.frombytes("RGB", image.size, fill), (0, 0), clear)
    return colors


def _samples(colors: pil.Image.Image, clear: pil.Image.Image) -> bytes:
    """Sample colors outside the mask, three bytes each. Return no bytes when the mask covers everything."""
    box = pil.ImageChops.invert(clear).getbbox()
    if box is None:
        return b""
    size = (min(SAMPLE_SIDE_PIXELS, box[2] - box[0]), min(SAMPLE_SIDE_PIXELS, box[3] - box[1]))
    body, mask = (each.crop(box).resize(size, pil.Image.Resampling.NEAREST).tobytes() for each in (colors, clear))
    found = b"".join(body[3 * at : 3 * at + 3] for at, hidden in enumerate(mask) if not hidden)
    if found:
        return found
    # The grid missed thin lines: take the first visible pixel of the first row that has one.
    row = (box[0], box[1], box[2], box[1] + 1)
    left = pil.ImageChops.invert(clear.crop(row)).getbbox() or (0,)
    return colors.crop((box[0] + left[0], box[1], box[0] + left[0] + 1, box[1] + 1)).tobytes()
