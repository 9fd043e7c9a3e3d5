"""Deep samples: read the bits of a source that Pillow cuts off.

Pillow decodes a PNG of 2 to 4 × 16 bits to the high byte of each sample. A second decoding with another byte order
gives the low bytes. pillow_heif cuts 10 and 12 bits to 8 by default.
"""

from __future__ import annotations

import io
from typing import Any, BinaryIO

from .. import pil
from ..color.samples import Samples

_LOW_BYTES = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}
"""Byte orders for reading the low bytes: each takes the second byte of a sample for the high one."""


def read(stream: BinaryIO, image: pil.Image.Image) -> Samples | None:
    """Read the samples of a loaded still image; None when it has 8 bits or less. The size is that of `image`."""
    if image.format == "PNG":
        return _read_png(stream, image)
    return _read_heif(stream, image) if image.format == "HEIF" else None


def _read_png(stream: BinaryIO, image: pil.Image.Image) -> Samples | None:
    """Decode a PNG again for the low bytes."""
    if image.mode.startswith("I;16"):
        low, high = pil.Image.frombytes("LA", image.size, image.tobytes("raw", "I;16")).split()
        return Samples(high, low, 65_535)
    stream.seek(0)
    again = pil.Image.open(stream, formats=["PNG"])
    (tile,) = again.tile or (None,)
    if tile is None:
        return None
    order = str(tile.args)
    if order == "LA;16B":
        # The four bytes of a pixel become its four channels: gray, high and low, then alpha.
        again.tile = [tile._replace(args="RGBA")]
        again.load()
        return Samples(again.getchannel(0), again.getchannel(1), 65_535)
    if order not in _LOW_BYTES:
        return None
    again.tile = [tile._replace(args=_LOW_BYTES[order])]
    again.load()
    return Samples(image.convert("RGB"), again.convert("RGB"), 65_535)


def _read_heif(stream: BinaryIO, image: pil.Image.Image) -> Samples | None:
    """Decode a HEIF again with all its bits."""
    import pillow_heif  # type: ignore[import-not-found,unused-ignore]

    stream.seek(0)
    opened: Any = pillow_heif.open_heif(io.BytesIO(stream.read()), convert_hdr_to_8bit=False)
    found = opened[image.tell()]
    mode, _, depth = found.mode.partition(";")
    if mode not in {"RGB", "RGBA"} or depth != "16":
        return None
    bits = min(found.info.get("bit_depth", 16), 16)
    body, stride = found.data, found.stride
    if found.size != image.size:
        return None
    high, low = (
        pil.Image.frombytes(mode, found.size, body, "raw", f"{mode};16{order}", stride).convert("RGB") for order in "LB"
    )
    return Samples(high, low, ((1 << bits) - 1) << (16 - bits))
