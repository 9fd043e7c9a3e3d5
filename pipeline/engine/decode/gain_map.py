"""Find, check and decode the HDR gain map of a JPEG (Ultra HDR 1.1; CIPA DC-007 multi-picture format; ISO 21496-1).

The gain map is a second JPEG behind the first one. Two indexes may say where: the multi-picture index (MPF), and the
container directory in the XMP of the first image. Both are hints of an untrusted file. A gain map counts only if every
index that the file has points to it, if it decodes without error, and if its metadata is valid. Otherwise the source
has no usable gain map, and the SDR image stands alone; that is no error.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import BinaryIO

from .. import pil
from ..containers import jpeg
from ..containers.file_view import view_of
from ..errors import EngineError
from ..gain_map_metadata import GainMapMetadata
from ..image_view import Size
from ..transforms.auto_orient import upright
from .gain_map_metadata import container_items, from_iso, from_xmp, parse_xmp
from .guard import map_decoder_errors
from .jpeg_scan import find_damage

MAX_MAP_BYTES = 64 * 1024 * 1024
MAX_ASPECT_ERROR = 0.02
"""Largest difference between the aspect ratios of gain map and image, beyond the rounding to a whole pixel."""


@dataclass(frozen=True)
class GainMap:
    """A decoded gain map: gray or RGB pixels in the orientation of the upright image, metadata, and its own profile."""

    image: pil.Image.Image
    metadata: GainMapMetadata
    profile: bytes | None = None


def read_gain_map(stream: BinaryIO, size: Size, orientation: int, max_pixels: int) -> GainMap | None:
    """Decode the gain map of a JPEG. Return None when there is none, or when it is not usable.

    Args:
        stream: The file. Its position is kept.
        size: Width and height of the image in pixels, as stored.
        orientation: EXIF orientation of the image, which holds for the gain map too.
        max_pixels: Limit on the pixels of image and gain map together.
    """
    found = _locate(stream)
    return _decode(*found, size, orientation, max_pixels - size[0] * size[1]) if found else None


def _locate(stream: BinaryIO) -> tuple[bytes, GainMapMetadata] | None:
    """Read the file of the gain map. Return None when an index is wrong, or when the indexes contradict each other."""
    body = view_of(stream)
    tree = parse_xmp(jpeg.read_payload(body, jpeg.APP1, jpeg.XMP_HEADER))
    items = container_items(tree) if tree is not None else []
    listed = [at for at, item in enumerate(items) if item.semantic == "GainMap"]
    if len(listed) > 1:
        return None
    length = items[listed[0]].length if listed else None
    index = jpeg.read_index(body)
    if index is None:
        # The items follow one another up to the end of the file.
        later = items[listed[0] :] if listed else []
        images = [(len(body) - sum(item.length + item.padding for item in later), length or 0)]
    else:
        images = [(image.offset, image.length) for image in index]
    for offset, size in images:
        if length in (None, size) and 0 < offset < offset + size <= len(body) and size <= MAX_MAP_BYTES:
            file = body[offset : offset + size]
            metadata = _metadata(file)
            if metadata is not None:
                return bytes(file), metadata
    return None


def _metadata(file: memoryview) -> GainMapMetadata | None:
    """Read the metadata of a gain map. The form of ISO 21496-1 counts before XMP, as in other readers."""
    if bytes(file[:2]) != b"\xff\xd8":
        return None
    if found := jpeg.find_payload(file, jpeg.APP2, jpeg.ISO_GAIN_MAP_HEADER):
        return from_iso(bytes(file[found.start : found.end]))
    tree = parse_xmp(jpeg.read_payload(file, jpeg.APP1, jpeg.XMP_HEADER))
    return from_xmp(tree) if tree is not None else None


def _decode(body: bytes, metadata: GainMapMetadata, size: Size, orientation: int, max_pixels: int) -> GainMap | None:
    """Decode a gain map of at most `max_pixels` pixels, and turn it upright."""
    if not body.rstrip(b"\0").endswith(b"\xff\xd9") or find_damage(memoryview(body)):
        return None
    try:
        with map_decoder_errors("JPEG"):
            image = pil.JpegImagePlugin.JpegImageFile(io.BytesIO(body))
            if not _fits(image.size, size) or image.width * image.height > max_pixels or image.mode not in {"L", "RGB"}:
                return None
            profile = image.info.get("icc_profile")
            image.load()
    except EngineError:
        return None
    if not metadata.base_colors and not _valid_profile(profile):
        return None
    plain = pil.Image.merge(image.mode, image.split())  # without metadata
    return GainMap(upright(plain, orientation), metadata, profile if _valid_profile(profile) else None)


def _fits(size: Size, full: Size) -> bool:
    """Return True when the gain map is not larger than the image, and has its aspect ratio."""
    width, height = size
    if width > full[0] or height > full[1]:
        return False
    expected = (height * full[0] / full[1], width * full[1] / full[0])
    return any(abs(side - wanted) <= 1 + MAX_ASPECT_ERROR * wanted for side, wanted in zip(size, expected, strict=True))


def _valid_profile(profile: bytes | None) -> bool:
    """Return True for an RGB or gray profile whose header states its length (ICC.1:2022, 7.2)."""
    return (
        profile is not None
        and len(profile) >= 128
        and int.from_bytes(profile[:4], "big") == len(profile)
        and profile[36:40] == b"acsp"
        and profile[16:20] in (b"RGB ", b"GRAY")
    )
