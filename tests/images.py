"""Pictures for tests, made and not fetched."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image


def picture(width: int = 800, height: int = 600, form: str = "JPEG", *, seed: int = 1, **options: Any) -> bytes:
    """A colourful picture, the same for the same arguments: a gradient with noise on it."""
    red = Image.linear_gradient("L").resize((width, height))
    green = Image.radial_gradient("L").resize((width, height))
    blue = Image.effect_noise((64, 64), 40 + seed % 50).resize((width, height)) if form == "noise" else red.rotate(seed)
    packed = io.BytesIO()
    Image.merge("RGB", (red, green, blue)).save(packed, "JPEG" if form == "noise" else form, **options)
    return packed.getvalue()


def sides(data: bytes) -> tuple[int, int]:
    """Width and height."""
    with Image.open(io.BytesIO(data)) as image:
        return image.size


def form(data: bytes) -> str:
    """Pillow's name of the format."""
    with Image.open(io.BytesIO(data)) as image:
        return str(image.format)
