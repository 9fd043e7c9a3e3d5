"""EXIF: read the metadata block of a source without decoding its pixels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from .. import pil
from ..containers.file_view import view_of
from ..containers.png import walk_chunks
from ..transforms.auto_orient import ORIENTATION

_XMP_KEYS = ("xmp", "XML:com.adobe.xmp")
"""Entries of `Image.info` in which Pillow looks for an orientation when EXIF has none."""


def exif_of(image: pil.Image.Image) -> pil.Image.Exif:
    """Return the EXIF fields in the header of `image`, without decoding its pixels and without those of XMP.

    `getexif` of Pillow's PNG reader decodes the pixels to reach an eXIf chunk behind them. If decoding fails there, the
    next `load()` finds nothing left to decode and accepts a damaged image.
    """
    with without_other_metadata(image):
        return pil.Image.Image.getexif(image)


@contextmanager
def without_other_metadata(image: pil.Image.Image) -> Iterator[None]:
    """Hide the XMP packet of `image` from Pillow, which would read an orientation from it."""
    hidden = {key: image.info.pop(key) for key in _XMP_KEYS if key in image.info}
    try:
        yield
    finally:
        image.info.update(hidden)


def exif_orientation(image: pil.Image.Image) -> int:
    """Return the EXIF orientation, from 1 to 8. XMP and text chunks of a PNG do not count, as in browsers.

    Pillow stores the block of EXIF itself in `info`; `getexif` also reads blocks in texts. It presents the orientation
    of an AVIF, which is in its boxes, as EXIF.
    """
    exif = pil.Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        value = exif.get(ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - parsers raise many classes on damaged metadata
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def late_exif(stream: BinaryIO) -> bytes:
    """Return the EXIF block of a PNG whose eXIf chunk follows its pixels, or no bytes. Keep the stream's position.

    No pixels are decoded.
    """
    body = view_of(stream)
    chunk = next((chunk for chunk in walk_chunks(body) if chunk.name == b"eXIf"), None)
    return b"Exif\0\0" + body[chunk.offset : chunk.end] if chunk else b""
