"""EXIF: read the metadata block of a source without decoding its pixels."""

from __future__ import annotations

from typing import BinaryIO

from .. import pil


def exif_of(image: pil.Image.Image) -> pil.Image.Exif:
    """Return the EXIF fields in the header of `image`, without decoding its pixels.

    `getexif` of Pillow's PNG reader decodes the pixels to reach an eXIf chunk behind them. If decoding fails there, the
    next `load()` finds nothing left to decode and accepts a damaged image.
    """
    return pil.Image.Image.getexif(image)


def late_exif(stream: BinaryIO) -> bytes:
    """Return the EXIF block of a PNG whose eXIf chunk follows its pixels, or no bytes. Keep the stream's position.

    The chunks are skipped by their lengths (PNG specification, 5.3), so no pixels are decoded.
    """
    place, exif = stream.tell(), b""
    stream.seek(8)
    while not exif and len(head := stream.read(8)) == 8 and head[4:] != b"IEND":
        length = int.from_bytes(head[:4], "big")
        if head[4:] == b"eXIf":
            exif = b"Exif\0\0" + stream.read(length)
        stream.seek(length + 4, 1)
    stream.seek(place)
    return exif
