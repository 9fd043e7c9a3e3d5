"""Placeholders: the prevailing color of an image, and previews of a few bytes (ThumbHash, BlurHash)."""

from __future__ import annotations

import base64
import math

from .. import pil
from ..canvas import flatten

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"
"""The 83 digits of BlurHash (github.com/woltapp/blurhash, Algorithm.md, "Base 83")."""


def dominant_color(image: pil.Image.Image) -> str:
    """Return the color that covers most of the image, as #rrggbb. Ignore transparent areas."""
    small = image.convert("RGBA").resize((64, 64), pil.Image.Resampling.BOX)
    body = small.tobytes()
    seen = b"".join(body[at : at + 3] for at in range(0, len(body), 4) if body[at + 3] >= 128)
    if not seen:
        return "#000000"
    line = pil.Image.frombytes("RGB", (len(seen) // 3, 1), seen)
    palette = line.quantize(6, pil.Image.Quantize.MEDIANCUT)
    counts = palette.getcolors() or [(1, 0)]
    _, index = max(counts)
    colors = (palette.getpalette() or [0, 0, 0])[int(str(index)) * 3 :][:3]
    return "#" + bytes(colors).hex()


def blurhash(image: pil.Image.Image) -> str:
    """Encode the image as a BlurHash of 4×3 components (Algorithm.md of that project), on a white background."""
    small = flatten(image, (255, 255, 255, 255)).convert("RGB").resize((32, 32), pil.Image.Resampling.BOX)
    channels = [[_linear(value) for value in band.tobytes()] for band in small.split()]
    factors = [
        [_cosine(channel, 32, 32, x, y, shift=0.0) * (1 if x == y == 0 else 2) for channel in channels]
        for y in range(3)
        for x in range(4)
    ]
    highest = max(abs(value) for factor in factors[1:] for value in factor)
    step = max(0, min(82, math.floor(highest * 166 - 0.5)))
    scale = (step + 1) / 166
    mean = [_srgb(value) for value in factors[0]]
    text = _base83(3 + 2 * 9, 1) + _base83(step, 1) + _base83(mean[0] << 16 | mean[1] << 8 | mean[2], 4)
    for factor in factors[1:]:
        red, green, blue = (_nineteenth(value / scale) for value in factor)
        text += _base83((red * 19 + green) * 19 + blue, 2)
    return text


def thumbhash(image: pil.Image.Image) -> str:
    """Encode the image as a ThumbHash in base64 (github.com/evanw/thumbhash): 20 to 30 bytes, alpha included."""
    factor = min(1.0, 100 / max(image.size))
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    small = image.convert("RGBA").resize(size, pil.Image.Resampling.BOX)
    red, green, blue, alpha = ([value / 255 for value in band.tobytes()] for band in small.split())
    total = sum(alpha)
    mean = [
        sum(c * a for c, a in zip(band, alpha, strict=True)) / total if total else 0.0 for band in (red, green, blue)
    ]
    # Transparent areas get the mean color, so that they do not affect the waves.
    red, green, blue = (
        [m * (1 - a) + c * a for c, a in zip(band, alpha, strict=True)]
        for band, m in zip((red, green, blue), mean, strict=True)
    )
    light = [(r + g + b) / 3 for r, g, b in zip(red, green, blue, strict=True)]
    yellow = [(r + g) / 2 - b for r, g, b in zip(red, green, blue, strict=True)]
    pink = [r - g for r, g in zip(red, green, strict=True)]
    clear = total < size[0] * size[1]
    return base64.b64encode(_packed(size, light, yellow, pink, alpha if clear else None)).decode("ascii")


def _packed(
    size: tuple[int, int], light: list[float], yellow: list[float], pink: list[float], alpha: list[float] | None
) -> bytes:
    """Pack the header, the constant terms, and four bits for each wave."""
    width, height = size
    limit = 5 if alpha else 7
    across = max(1, _half_up(limit * width / max(size)))
    down = max(1, _half_up(limit * height / max(size)))
    lights, yellows, pinks = (
        _channel(light, size, max(3, across), max(3, down)),
        _channel(yellow, size, 3, 3),
        _channel(pink, size, 3, 3),
    )
    wide = width > height
    first = _half_up(63 * lights[0]) | _half_up(31.5 + 31.5 * yellows[0]) << 6 | _half_up(31.5 + 31.5 * pinks[0]) << 12
    first |= _half_up(31 * lights[2]) << 18 | (1 << 23 if alpha else 0)
    second = (down if wide else across) | _half_up(63 * yellows[2]) << 3 | _half_up(63 * pinks[2]) << 9
    second |= (1 << 15) if wide else 0
    body = bytearray(first.to_bytes(3, "little") + second.to_bytes(2, "little"))
    waves = [*lights[1], *yellows[1], *pinks[1]]
    if alpha:
        alphas = _channel(alpha, size, 5, 5)
        body.append(_half_up(15 * alphas[0]) | _half_up(15 * alphas[2]) << 4)
        waves += alphas[1]
    nibbles = [_half_up(15 * wave) for wave in waves] + [0]
    body += bytes(nibbles[at] | nibbles[at + 1] << 4 for at in range(0, len(waves), 2))
    return bytes(body)


def _channel(values: list[float], size: tuple[int, int], across: int, down: int) -> tuple[float, list[float], float]:
    """Return the mean of a channel, its waves as fractions (0.5 is none), and the amplitude of the strongest wave."""
    mean, waves = 0.0, []
    for y in range(down):
        x = 0
        while x * down < across * (down - y):
            wave = _cosine(values, *size, x, y)
            if x or y:
                waves.append(wave)
            else:
                mean = wave
            x += 1
    strongest = max((abs(wave) for wave in waves), default=0.0)
    return mean, [0.5 + 0.5 * wave / strongest for wave in waves] if strongest else waves, strongest


def _cosine(values: list[float], width: int, height: int, x: int, y: int, shift: float = 0.5) -> float:
    """Return the coefficient of one cosine wave over rows of `values`, sampled at `shift` of each pixel."""
    across = [math.cos(math.pi / width * x * (i + shift)) for i in range(width)]
    down = [math.cos(math.pi / height * y * (i + shift)) for i in range(height)]
    total = 0.0
    for row in range(height):
        line = values[row * width : (row + 1) * width]
        total += down[row] * sum(v * c for v, c in zip(line, across, strict=True))
    return total / (width * height)


def _half_up(value: float) -> int:
    """Round half up, as the reference implementation does."""
    return math.floor(value + 0.5)


def _linear(value: int) -> float:
    """Convert an sRGB byte to linear light (IEC 61966-2-1)."""
    share = value / 255
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4


def _srgb(light: float) -> int:
    """Convert linear light to an sRGB byte."""
    light = min(1.0, max(0.0, light))
    share = light * 12.92 if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055
    return _half_up(share * 255)


def _nineteenth(value: float) -> int:
    """Quantize a factor from -1 to 1 to one of 19 steps, finer around 0."""
    return max(0, min(18, math.floor(math.copysign(abs(value) ** 0.5, value) * 9 + 9.5)))


def _base83(value: int, length: int) -> str:
    """Encode a number in `length` digits of base 83."""
    return "".join(_DIGITS[value // 83 ** (length - place) % 83] for place in range(1, length + 1))
