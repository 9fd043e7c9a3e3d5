"""EXIF: read the metadata block of a source without decoding its pixels."""

from __future__ import annotations

from typing import BinaryIO

from .. import pil
from .png_chunks import walk_chunks


def exif_of(image: pil.Image.Image) -> pil.Image.Exif:
    """Return the EXIF fields in the header of `image`, without decoding its pixels.

    `getexif` of Pillow's PNG reader decodes the pixels to reach an eXIf chunk behind them. If decoding fails there, the
    next `load()` finds nothing left to decode and accepts a damaged image.
    """
    return pil.Image.Image.getexif(image)


def late_exif(stream: BinaryIO) -> bytes:
    """Return the EXIF block of a PNG whose eXIf chunk follows its pixels, or no bytes. Keep the stream's position.

    No pixels are decoded.
    """
    place = stream.tell()
    chunk = next((chunk for chunk in walk_chunks(stream) if chunk.name == b"eXIf"), None)
    if chunk is None:
        return b""
    stream.seek(chunk.offset)
    exif = stream.read(chunk.length)
    stream.seek(place)
    return b"Exif\0\0" + exif
