"""Palettes: reduce an image to a palette of its own."""

from __future__ import annotations

from .. import pil
from ..transparency import fill_transparent


def quantize(image: pil.Image.Image, colors: int) -> pil.Image.Image:
    """Convert `image` to a palette of up to `colors` entries, alpha included."""
    if image.mode == "RGBA":
        return image.quantize(colors, pil.Image.Quantize.FASTOCTREE)  # Pillow's only method with alpha
    return image.convert("RGB").quantize(colors, pil.Image.Quantize.MEDIANCUT)


def quantize_with_clear_entry(image: pil.Image.Image, colors: int) -> pil.Image.Image:
    """Convert `image` to a palette with one transparent entry, for pixels that are less than half opaque."""
    if image.mode != "RGBA":
        return quantize(image, colors)
    clear = image.getchannel("A").point([255] * 128 + [0] * 128)
    if clear.getbbox() is None:
        return quantize(image.convert("RGB"), colors)
    entry = max(1, colors - 1)
    found = quantize(fill_transparent(image, clear), entry)
    entries = (found.getpalette() or [])[: entry * 3]
    found.putpalette(entries + [0] * (768 - len(entries)))
    found.paste(entry, (0, 0, *image.size), clear)
    found.info["transparency"] = entry
    return found
