"""Readers of the engine, for formats in which Pillow shows some valid files wrong. Each imports Pillow when needed."""

from __future__ import annotations

import io
from typing import BinaryIO

from .. import pil
from . import webp_alpha


def open_own(stream: BinaryIO, found: str) -> pil.Image.Image | None:
    """Open a file with the engine's own reader of its format. Return None when Pillow reads the file right.

    Raises:
        EngineError: the engine cannot read this variant of the format.
    """
    stream.seek(0)
    if found == "TIFF":
        from .tiff_file import TiffFile

        return TiffFile(stream)
    if found == "GIF":
        from .gif_file import GifFile

        return GifFile(stream)
    if found == "BMP":
        from .bmp_file import BmpFile

        return BmpFile(stream)
    if found == "WEBP" and webp_alpha.lacks_alpha_flag(stream):
        stream.seek(0)
        return pil.Image.open(io.BytesIO(webp_alpha.with_alpha_flag(stream.read())), formats=[found])
    return None


def open_apng(stream: BinaryIO) -> pil.Image.Image:
    """Open an animated PNG, which Pillow has accepted.

    Raises:
        EngineError: a frame is outside the image.
    """
    from .apng_file import ApngFile

    stream.seek(0)
    return ApngFile(stream)
