"""Saliency: find the parts of an image that a viewer looks at, by color, detail and contrast.

All per-pixel work runs in Pillow's C code, on a thumbnail.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from functools import cache

from .. import pil
from ..image_view import resampling

ANALYSIS_SIDE_PIXELS = 160
"""Side in pixels of the thumbnail that is analyzed."""

LUT_STEPS = 17
"""Steps of each color channel in the table of color weights."""

PALETTE_COLORS = 24
"""Number of colors that are told apart when rare ones are looked for."""

ALIKE = 90
"""Sum of the differences of red, green and blue from which two colors are not alike at all."""

COMMON_SHARE = 0.3
"""Share of the pixels from which a color is not rare at all."""


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


@dataclass(frozen=True)
class ColorMaps:
    """Maps of an RGB image in mode L: likelihood of skin, saturation, and how rare each color is."""

    skin: pil.Image.Image
    colorful: pil.Image.Image
    rarity: pil.Image.Image


def color_maps(image: pil.Image.Image) -> ColorMaps:
    """Return the maps of an RGB image."""
    skin, colorful, _ = image.filter(_color_table()).split()
    return ColorMaps(skin, colorful, _rarity(image))


def energy_map(image: pil.Image.Image, maps: ColorMaps) -> pil.Image.Image:
    """Return the weight of each pixel of an RGB image, in mode L."""
    chops = pil.ImageChops
    side = max(image.size)
    edges = _edges(image)
    fine = _blurred(edges, side / 60)
    # Detail that stands out: an even texture (a hedge, gravel, a crowd) has as much around it.
    broad = _blurred(edges, side / 8).point(_scale(0.7))
    detail = chops.add(chops.subtract(fine, broad), fine, 1.6)
    # A smooth thing before a busy background stands out as much as a busy thing before a smooth one.
    texture = chops.difference(_blurred(edges, side / 24), _blurred(edges, side / 4))
    energy = chops.add(_contrast(image), chops.add(detail, texture), 1.3)
    energy = chops.add(energy, maps.colorful.point(_scale(0.35)))
    energy = chops.add(energy, maps.rarity.point(_scale(0.5)))
    smooth_skin = chops.subtract(_blurred(maps.skin, side / 80), fine)
    return chops.add(energy, smooth_skin.point(_scale(0.35)))


def _contrast(image: pil.Image.Image) -> pil.Image.Image:
    """Return the difference from the surroundings and from the mean color: it marks an object, not its texture."""
    chops = pil.ImageChops
    side = max(image.size)
    colors = pil.Image.merge("RGB", image.convert("YCbCr").split())
    near, far = _blurred(colors, side / 80), _blurred(colors, side / 5)
    mean = colors.resize((1, 1), resampling("box")).resize(image.size)
    light, blue, red = chops.add(chops.difference(near, far), chops.difference(near, mean), 2).split()
    return chops.add(light, chops.add(blue, red, 0.5), 1.6)


def _blurred(image: pil.Image.Image, radius: float) -> pil.Image.Image:
    """Return the mean of the square around each pixel."""
    return image.filter(pil.ImageFilter.BoxBlur(radius))


@cache
def _scale(factor: float) -> list[int]:
    """Return the table that multiplies a value by `factor`."""
    return [round(value * factor) for value in range(256)]


def _edges(image: pil.Image.Image) -> pil.Image.Image:
    """Return the difference of each pixel from its neighbors, in mode L."""
    gray = image.convert("L")
    found = pil.ImageOps.expand(gray, 1).filter(pil.ImageFilter.FIND_EDGES)
    # The outermost pixels differ from the padding around them; ignore them.
    canvas = pil.Image.new("L", image.size)
    if min(image.size) > 4:
        canvas.paste(found.crop((2, 2, image.width, image.height)), (1, 1))
    return canvas


def _rarity(image: pil.Image.Image) -> pil.Image.Image:
    """Return how rare the color of each pixel is, in mode L: 255 when few pixels have one like it."""
    few = _blurred(image, max(image.size) / 80).quantize(
        PALETTE_COLORS, pil.Image.Quantize.FASTOCTREE, dither=pil.Image.Dither.NONE
    )
    colors = few.getpalette() or []
    counts = few.histogram()
    used = [(count, colors[3 * at : 3 * at + 3]) for at, count in enumerate(counts[: len(colors) // 3])]
    near: list[float] = [count for count, _ in used]
    for at, (count, (red, green, blue)) in enumerate(used):
        for before, (share, other) in enumerate(used[:at]):
            distance = abs(red - other[0]) + abs(green - other[1]) + abs(blue - other[2])
            if distance < ALIKE:
                alike = 1 - distance / ALIKE
                near[at] += share * alike
                near[before] += count * alike
    total = sum(counts)
    weights = [round(255 * max(0.0, 1 - each / total / COMMON_SHARE)) for each in near] + [0] * (256 - len(near))
    rare = pil.Image.frombytes("L", few.size, few.tobytes()).point(weights)
    return _blurred(rare, max(image.size) / 80)


def profile(energy: pil.Image.Image, axis: int) -> list[float]:
    """Return the mean of each column (axis 0) or row (axis 1)."""
    size = (energy.width, 1) if axis == 0 else (1, energy.height)
    return array("f", energy.convert("F").resize(size, resampling("box")).tobytes()).tolist()
