"""Scenes with people whose heads are marked, drawn on busy backgrounds. All scenes follow from their seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageDraw, ImageFilter

Box = tuple[float, float, float, float]
Rgb = tuple[int, int, int]

LIGHT = ((255, 224, 189), (244, 208, 177), (241, 194, 150), (232, 184, 148), (224, 172, 125), (247, 219, 200))
"""Light skin tones."""
DARK = ((141, 85, 54), (120, 72, 46), (92, 56, 36), (104, 66, 48), (76, 48, 36), (150, 98, 66))
"""Dark skin tones."""
HAIR = ((30, 22, 18), (60, 40, 26), (96, 60, 36), (150, 110, 60), (205, 170, 110), (120, 120, 122), (130, 50, 25))
CLOTHES = ((30, 40, 80), (160, 30, 40), (240, 240, 235), (40, 110, 70), (220, 180, 60), (90, 90, 95), (60, 140, 190))
SIZES = ((960, 640), (640, 960), (1200, 500), (800, 800), (720, 900), (1280, 720))
GRAIN = [round(128 + (value - 127.5) * 14 / 73.9) for value in range(256)]
"""Converts random bytes to noise with a standard deviation of 14. (Image.effect_noise knows no seed.)"""

Face = Callable[[random.Random, int, Rgb], Image.Image]
"""A function that draws a face: random numbers, side in pixels and skin tone."""


@dataclass(frozen=True)
class Scene:
    """An image, and the heads in it with hair and chin: left, top, right, bottom in pixels."""

    image: Image.Image
    heads: tuple[Box, ...]


def make_scene(seed: str, tones: Sequence[Rgb], face: Face | None = None) -> Scene:
    """Draw a scene with one to three people of the skin tones; `face` draws their faces."""
    dice = random.Random(seed)
    size = dice.choice(SIZES)
    image = dice.choice(BACKGROUNDS)(dice, size)
    _distract(dice, image)
    count = dice.choice((1, 1, 1, 2, 2, 3))
    tall = dice.uniform(0.16, 0.38) * min(size)
    # People of a group stand side by side; the group stands anywhere.
    step = tall * dice.uniform(1.1, 1.7)
    first = dice.uniform(tall * 0.6, max(tall * 0.61, size[0] - tall * 0.6 - step * (count - 1)))
    heads: list[Box] = []
    for number in range(count):
        middle = first + number * step
        if middle > size[0] - tall * 0.5:
            break
        own = tall * dice.uniform(0.85, 1.1)
        top = dice.uniform(0.02, 0.55) * size[1] if number == 0 else heads[0][1] + dice.uniform(-0.25, 0.25) * own
        top = min(max(top, own * 0.04), size[1] - own * 1.3)
        heads.append(_person(dice, image, (middle, top), own, dice.choice(tones), face or draw_face))
    grain = Image.frombytes("L", size, dice.randbytes(size[0] * size[1])).point(GRAIN).convert("RGB")
    return Scene(ImageChops.add(image, grain, 1, -128).filter(ImageFilter.GaussianBlur(0.6)), tuple(heads))


def _person(
    dice: random.Random, image: Image.Image, at: tuple[float, float], tall: float, tone: Rgb, face: Face
) -> Box:
    """Draw a person whose head has its top at `at` and is `tall` pixels high. Return the box of the head."""
    x, y = at
    wide = tall * 0.72
    draw = ImageDraw.Draw(image)
    cloth, hair = dice.choice(CLOTHES), dice.choice(HAIR)
    shoulder = y + tall * 1.12
    left, right = x - tall * 0.85, x + tall * 0.85
    style = dice.choice(("short", "long", "bald", "bun"))
    if style == "long":
        draw.ellipse((x - wide * 0.62, y, x + wide * 0.62, y + tall * 1.35), fill=hair)
    draw.rectangle((x - wide * 0.22, y + tall * 0.8, x + wide * 0.22, shoulder + tall * 0.15), fill=_scaled(tone, 0.85))
    draw.rounded_rectangle((left, shoulder, right, y + tall * 5), radius=tall * 0.4, fill=cloth)
    if dice.random() < 0.4:
        for row in range(round(shoulder + tall * 0.3), round(min(y + tall * 5, image.height)), max(4, round(tall / 5))):
            draw.line((left, row, right, row), fill=_scaled(cloth, 0.6), width=max(1, round(tall / 14)))
    if dice.random() < 0.4:
        for side in (left, right - tall * 0.3):
            draw.rounded_rectangle(
                (side, shoulder + tall * 0.5, side + tall * 0.3, shoulder + tall * 2), tall * 0.15, fill=tone
            )
    draw.ellipse((x - wide / 2, y, x + wide / 2, y + tall * 0.8), fill=_scaled(tone, 0.9) if style == "bald" else hair)
    if style == "bun":
        draw.ellipse((x - wide * 0.2, y - tall * 0.02, x + wide * 0.2, y + tall * 0.2), fill=hair)
    side = round(tall * 0.94)
    drawn = face(dice, side, tone)
    mask = Image.new("L", (side, side))
    ImageDraw.Draw(mask).ellipse((side * 0.14, side * 0.1, side * 0.86, side * 0.99), fill=255)
    image.paste(drawn, (round(x - side / 2), round(y + tall * 0.06)), mask.filter(ImageFilter.GaussianBlur(side / 50)))
    return x - wide * 0.55, max(0.0, y - tall * 0.02), x + wide * 0.55, y + tall * 1.0


def draw_face(dice: random.Random, side: int, tone: Rgb) -> Image.Image:
    """Draw a face with shading, eyes, brows, nose and mouth."""
    image = Image.new("RGB", (side, side), tone)
    light = Image.linear_gradient("L").rotate(dice.choice((0, 90, 270))).resize((side, side))
    image = Image.composite(image, Image.new("RGB", (side, side), _scaled(tone, 0.72)), light)
    draw = ImageDraw.Draw(image)
    for x in (0.34, 0.66):
        draw.ellipse((side * (x - 0.075), side * 0.46, side * (x + 0.075), side * 0.53), fill=(245, 242, 238))
        draw.ellipse((side * (x - 0.035), side * 0.455, side * (x + 0.035), side * 0.535), fill=(50, 35, 28))
        draw.line(
            (side * (x - 0.09), side * 0.4, side * (x + 0.09), side * 0.4), _scaled(tone, 0.4), max(1, side // 30)
        )
    draw.line((side * 0.5, side * 0.5, side * 0.47, side * 0.66), _scaled(tone, 0.7), max(1, side // 40))
    draw.ellipse((side * 0.38, side * 0.75, side * 0.62, side * 0.82), fill=_mixed(tone, (170, 60, 60), 0.6))
    return image.filter(ImageFilter.GaussianBlur(side / 90))


def _scaled(color: Rgb, factor: float) -> Rgb:
    """Return the color times `factor`."""
    return tuple(min(255, round(value * factor)) for value in color)  # type: ignore[return-value]


def _mixed(one: Rgb, other: Rgb, share: float) -> Rgb:
    """Return a mixture with `share` of the other color."""
    return tuple(round(a * (1 - share) + b * share) for a, b in zip(one, other, strict=True))  # type: ignore[return-value]


def _foliage(dice: random.Random, size: tuple[int, int]) -> Image.Image:
    """Draw leaves in many greens."""
    return _scatter(dice, size, (30, 60, 25), ((40, 90, 30), (70, 130, 40), (110, 160, 60), (25, 70, 35)), (8, 36))


def _autumn(dice: random.Random, size: tuple[int, int]) -> Image.Image:
    """Draw leaves in autumn colors."""
    return _scatter(dice, size, (70, 45, 20), ((190, 90, 20), (210, 140, 30), (150, 50, 20), (120, 100, 30)), (8, 34))


def _crowd(dice: random.Random, size: tuple[int, int]) -> Image.Image:
    """Draw unsharp spots of all colors, like a crowd or lights out of focus."""
    colors = ((200, 60, 50), (60, 80, 160), (220, 200, 180), (40, 40, 50), (180, 130, 100))
    return _scatter(dice, size, (60, 55, 60), colors, (14, 30)).filter(ImageFilter.GaussianBlur(6))


def _scatter(
    dice: random.Random, size: tuple[int, int], ground: Rgb, colors: Sequence[Rgb], radii: tuple[int, int]
) -> Image.Image:
    """Draw ellipses all over the image."""
    image = Image.new("RGB", size, ground)
    draw = ImageDraw.Draw(image)
    for _ in range(size[0] * size[1] // 500):
        x, y, r = dice.uniform(0, size[0]), dice.uniform(0, size[1]), dice.uniform(*radii)
        color = _scaled(dice.choice(colors), dice.uniform(0.6, 1.25))
        draw.ellipse((x - r, y - r * 0.6, x + r, y + r * 0.6), fill=color)
    return image


def _bricks(dice: random.Random, size: tuple[int, int]) -> Image.Image:
    """Draw a wall of bricks."""
    image = Image.new("RGB", size, (190, 180, 170))
    draw = ImageDraw.Draw(image)
    for row, y in enumerate(range(0, size[1], 26)):
        for x in range(-60 + 30 * (row % 2), size[0], 60):
            draw.rectangle((x, y, x + 56, y + 22), fill=_scaled((160, 82, 62), dice.uniform(0.75, 1.2)))
    return image


def _wood(dice: random.Random, size: tuple[int, int]) -> Image.Image:
    """Draw planks of wood."""
    image = Image.new("RGB", size)
    draw = ImageDraw.Draw(image)
    for x in range(0, size[0], 70):
        plank = _scaled((168, 118, 72), dice.uniform(0.7, 1.2))
        draw.rectangle((x, 0, x + 67, size[1]), fill=plank)
        for _ in range(12):
            at = x + dice.uniform(2, 66)
            draw.line((at, 0, at + dice.uniform(-6, 6), size[1]), fill=_scaled(plank, dice.uniform(0.75, 1.1)))
    return image


def _beach(dice: random.Random, size: tuple[int, int]) -> Image.Image:
    """Draw sky, sea and sand."""
    image = Image.new("RGB", size, (140, 190, 230))
    draw = ImageDraw.Draw(image)
    horizon = size[1] * dice.uniform(0.25, 0.5)
    draw.rectangle((0, horizon, *size), fill=(40, 110, 150))
    for _ in range(150):
        x, y = dice.uniform(0, size[0]), dice.uniform(horizon, size[1])
        draw.line((x, y, x + dice.uniform(10, 60), y), fill=(120, 180, 200), width=2)
    draw.rectangle((0, horizon + size[1] * 0.15, *size), fill=(206, 186, 140))
    return image


def _stripes(dice: random.Random, size: tuple[int, int]) -> Image.Image:
    """Draw a pattern of stripes with strong contrast."""
    one, other = dice.choice(CLOTHES), dice.choice(CLOTHES)
    image = Image.new("RGB", size, one)
    draw = ImageDraw.Draw(image)
    for x in range(-size[1], size[0], 44):
        draw.line((x, 0, x + size[1], size[1]), fill=other, width=18)
    return image


def _studio(dice: random.Random, size: tuple[int, int]) -> Image.Image:
    """Draw a plain wall with a gradient."""
    light, dark = dice.choice((((225, 225, 228), (150, 152, 160)), ((220, 205, 185), (150, 130, 110))))
    shade = Image.radial_gradient("L").resize(size)
    return Image.composite(Image.new("RGB", size, dark), Image.new("RGB", size, light), shade)


def _street(dice: random.Random, size: tuple[int, int]) -> Image.Image:
    """Draw houses with windows."""
    image = Image.new("RGB", size, (170, 190, 215))
    draw = ImageDraw.Draw(image)
    x = 0
    while x < size[0]:
        wide, top = dice.randint(80, 200), dice.uniform(0.05, 0.45) * size[1]
        wall = _scaled(dice.choice(((150, 120, 100), (200, 190, 170), (120, 125, 135), (180, 110, 80))), 1)
        draw.rectangle((x, top, x + wide, size[1]), fill=wall)
        for y in range(round(top) + 20, size[1], 55):
            for at in range(x + 12, x + wide - 25, 40):
                draw.rectangle((at, y, at + 20, y + 30), fill=_scaled((70, 90, 120), dice.uniform(0.5, 2)))
        x += wide
    return image


BACKGROUNDS = (_foliage, _autumn, _crowd, _bricks, _wood, _beach, _stripes, _studio, _street)


def _distract(dice: random.Random, image: Image.Image) -> None:
    """Draw things that catch the eye: fruit, text, a poster, or nothing."""
    draw = ImageDraw.Draw(image)
    kind = dice.choice(("fruit", "text", "poster", "flowers", "nothing"))
    x, y = dice.uniform(0, 0.8) * image.width, dice.uniform(0.1, 0.8) * image.height
    unit = min(image.size) / 16
    if kind == "fruit":
        for _ in range(12):
            a, b, r = x + dice.uniform(-3, 3) * unit, y + dice.uniform(-1.5, 1.5) * unit, unit * dice.uniform(0.7, 1.1)
            color = dice.choice(((230, 120, 20), (200, 30, 30), (240, 200, 40), (120, 170, 40)))
            draw.ellipse((a - r, b - r, a + r, b + r), fill=color)
            draw.ellipse((a - r * 0.5, b - r * 0.6, a - r * 0.1, b - r * 0.2), fill=_mixed(color, (255, 255, 255), 0.6))
    elif kind == "text":
        for row in range(6):
            draw.text((x, y + row * unit), "SALE 50% EVERYTHING MUST GO", fill=(20, 20, 20), font_size=unit * 0.9)
    elif kind == "poster":
        draw.rectangle((x, y, x + unit * 5, y + unit * 4), fill=(250, 240, 60), outline=(0, 0, 0), width=6)
        draw.ellipse((x + unit, y + unit * 0.5, x + unit * 4, y + unit * 3.5), fill=(220, 20, 120))
    elif kind == "flowers":
        for _ in range(30):
            a, b, r = x + dice.uniform(-4, 4) * unit, y + dice.uniform(-2, 2) * unit, unit * dice.uniform(0.2, 0.5)
            draw.ellipse(
                (a - r, b - r, a + r, b + r), fill=dice.choice(((250, 90, 160), (255, 240, 90), (250, 250, 250)))
            )
