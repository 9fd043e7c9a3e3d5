"""Saliency: find the parts of an image that a viewer looks at, by color, detail and contrast.

All per-pixel work runs in Pillow's C code, on a thumbnail.
"""

from __future__ import annotations

from array import array
from functools import cache

from .. import pil
from ..image_view import resampling

ANALYSIS_SIDE_PIXELS = 160
"""Side in pixels of the thumbnail that is analyzed."""

LUT_STEPS = 17
"""Steps of each color channel in the table of color weights."""


@cache
def _color_table() -> pil.ImageFilter.Color3DLUT:
    """Return the table that converts a color to its likelihood of skin, its saturation weight and 0."""
    return pil.ImageFilter.Color3DLUT.generate(LUT_STEPS, _weigh_color)


def _weigh_color(red: float, green: float, blue: float) -> tuple[float, float, float]:
    """Return the likelihood of skin and the weight of the saturation of a color; all values from 0 to 1.

    Chroma is divided by luminance. By that measure skin of all tones lies on one short line from pink to brown, while
    sand is too yellow, and fruit and autumn leaves are too saturated.
    """
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    spread = max(red, green, blue) - min(red, green, blue)
    colorful = spread * _ramp(luminance, 0.04, 0.2)
    if luminance < 0.03 or red <= luminance or blue >= luminance:
        return 0.0, colorful, 0.0
    across, down = red / luminance - 1, 1 - blue / luminance
    chroma = (across * across + down * down) ** 0.5
    tone = down / across
    skin = (
        _ramp(tone, 0.40, 0.70)
        * _ramp(tone, 2.6, 1.9)
        * _ramp(chroma, 0.08, 0.20)
        * _ramp(chroma, 1.0, 0.82)
        * _ramp(luminance, 0.05, 0.14)
    )
    return skin, colorful, 0.0


def _ramp(value: float, zero: float, one: float) -> float:
    """Return 0 at `zero`, 1 at `one`, and the straight line between them."""
    return min(1.0, max(0.0, (value - zero) / (one - zero)))


def color_maps(image: pil.Image.Image) -> tuple[pil.Image.Image, pil.Image.Image]:
    """Return maps of skin likelihood and of saturation for an RGB image."""
    skin, colorful, _ = image.filter(_color_table()).split()
    return skin, colorful


def energy_map(image: pil.Image.Image, skin: pil.Image.Image, colorful: pil.Image.Image, rarity: pil.Image.Image) -> pil.Image.Image:
    """Return the weight of each pixel of an RGB image, in mode L."""
    chops = pil.ImageChops
    side = max(image.size)
    # Difference from the surroundings and from the mean color: an object, not its texture.
    opponent = pil.Image.merge("RGB", image.convert("YCbCr").split())
    near = opponent.filter(pil.ImageFilter.BoxBlur(side / 80))
    far = opponent.filter(pil.ImageFilter.BoxBlur(side / 5))
    mean = pil.Image.new("RGB", image.size, opponent.resize((1, 1), resampling("box")).getpixel((0, 0)))
    around = chops.add(chops.difference(near, far), chops.difference(near, mean), 2)
    light, blue, red = around.split()
    contrast = chops.add(light, chops.add(blue, red, 0.5), 1.6)
    # Detail that stands out: an even texture (a hedge, gravel, a crowd) has as much around it.
    edges = _edges(image)
    fine = edges.filter(pil.ImageFilter.BoxBlur(side / 60))
    broad = edges.filter(pil.ImageFilter.BoxBlur(side / 8))
    detail = chops.add(chops.subtract(fine, broad.point([round(value * 0.7) for value in range(256)])), fine, 1.6)
    # A smooth thing before a busy background stands out as much as a busy thing before a smooth one.
    texture = chops.difference(edges.filter(pil.ImageFilter.BoxBlur(side / 24)), edges.filter(pil.ImageFilter.BoxBlur(side / 4)))
    smooth_skin = chops.subtract(skin.filter(pil.ImageFilter.BoxBlur(side / 80)), fine)
    energy = chops.add(contrast, chops.add(detail, texture), 1.3)
    energy = chops.add(energy, colorful.point([round(value * 0.35) for value in range(256)]))
    energy = chops.add(energy, rarity.point([round(value * RW) for value in range(256)]))
    return chops.add(energy, smooth_skin.point([round(value * 0.35) for value in range(256)]))


def _edges(image: pil.Image.Image) -> pil.Image.Image:
    """Return the difference of each pixel from its neighbors, in mode L."""
    gray = image.convert("L")
    found = pil.ImageOps.expand(gray, 1).filter(pil.ImageFilter.FIND_EDGES)
    # The outermost pixels differ from the padding around them; ignore them.
    canvas = pil.Image.new("L", image.size)
    if min(image.size) > 4:
        canvas.paste(found.crop((2, 2, image.width, image.height)), (1, 1))
    return canvas


def rarity_map(image: pil.Image.Image) -> pil.Image.Image:
    """Return how rare the color of each pixel is in an RGB image, in mode L: 255 for a unique color."""
    blurred = image.filter(pil.ImageFilter.BoxBlur(max(image.size) / 80))
    few = blurred.quantize(COLORS, pil.Image.Quantize.FASTOCTREE, kmeans=0, dither=pil.Image.Dither.NONE)
    counts = few.histogram()
    palette = (few.getpalette() or [])[: 3 * COLORS]
    points = [tuple(palette[at : at + 3]) for at in range(0, len(palette), 3)]
    total = sum(counts)
    weights = []
    for one in points:
        near = 0.0
        for other, count in zip(points, counts, strict=False):
            distance = sum(abs(a - b) for a, b in zip(one, other, strict=True))
            near += count * max(0.0, 1 - distance / 90)
        weights.append(round(255 * max(0.0, 1 - near / total / 0.3)))
    found = few.point(weights + [0] * (256 - len(weights)), "L") if False else pil.Image.frombytes("L", few.size, few.tobytes()).point(weights + [0] * (256 - len(weights)))
    return found.filter(pil.ImageFilter.BoxBlur(max(image.size) / 80))


COLORS = 24
RW=0.5


def profile(energy: pil.Image.Image, axis: int) -> list[float]:
    """Return the mean of each column (axis 0) or row (axis 1)."""
    size = (energy.width, 1) if axis == 0 else (1, energy.height)
    return array("f", energy.convert("F").resize(size, resampling("box")).tobytes()).tolist()
