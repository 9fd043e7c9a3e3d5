"""Generated images for tests."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image


def image_bytes(
    width: int = 800, height: int = 600, image_format: str = "JPEG", *, seed: int = 1, **options: Any
) -> bytes:
    """Return a colorful encoded image: a gradient with noise, equal for equal arguments."""
    red = Image.linear_gradient("L").resize((width, height))
    green = Image.radial_gradient("L").resize((width, height))
    blue = (
        Image.effect_noise((64, 64), 40 + seed % 50).resize((width, height))
        if image_format == "noise"
        else red.rotate(seed)
    )
    packed = io.BytesIO()
    Image.merge("RGB", (red, green, blue)).save(packed, "JPEG" if image_format == "noise" else image_format, **options)
    return packed.getvalue()


def size(data: bytes) -> tuple[int, int]:
    """Return the width and the height in pixels."""
    with Image.open(io.BytesIO(data)) as image:
        return image.size


def detect_format(data: bytes) -> str:
    """Return Pillow's name of the format."""
    with Image.open(io.BytesIO(data)) as image:
        return str(image.format)
