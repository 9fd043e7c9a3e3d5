"""Find, check and decode the HDR gain map of a JPEG (Ultra HDR 1.1; CIPA DC-007 multi-picture format; ISO 21496-1).

The gain map is a second JPEG behind the first one. Two indexes may say where: the multi-picture index (MPF), and the
container directory in the XMP of the first image. Both are hints of an untrusted file. A gain map counts only if every
index that the file has points to it, if it decodes without error, and if its metadata is valid. Otherwise the source
has no usable gain map, and the SDR image stands alone; that is no error.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from .. import pil
from ..errors import EngineError
from ..gain_map_metadata import GainMapMetadata
from ..image_view import Size
from ..transforms.auto_orient import upright
from .gain_map_metadata import container_items, from_iso, from_xmp, parse_xmp
from .guard import map_decoder_errors
from .jpeg_scan import find_damage

XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
ISO_HEADER = b"urn:iso:std:iso:ts:21496:-1\0"
MPF_HEADER = b"MPF\0"
ICC_HEADER = b"ICC_PROFILE\0"

MAX_IMAGES = 32
"""Largest number of images in a multi-picture index that is read."""

MAX_MAP_BYTES = 64 * 1024 * 1024
MAX_SEGMENTS = 512
"""Largest number of segments before the pixels that are read."""

MAX_ASPECT_ERROR = 0.02
"""Largest difference between the aspect ratios of gain map and image, beyond the rounding to a whole pixel."""


@dataclass(frozen=True)
class GainMap:
    """A decoded gain map: gray or RGB pixels in the orientation of the upright image, metadata, and its own profile."""

    image: pil.Image.Image
    metadata: GainMapMetadata
    profile: bytes | None = None


class Segment(NamedTuple):
    """A segment of a JPEG header: its marker, the offset of its data in the file, and the data of APP1 and APP2."""

    marker: int
    offset: int
    data: bytes


def read_gain_map(stream: BinaryIO, size: Size, orientation: int, max_pixels: int) -> GainMap | None:
    """Decode the gain map of a JPEG. Return None when there is none, or when it is not usable.

    Args:
        stream: The file. Its position is kept.
        size: Width and height of the image in pixels, as stored.
        orientation: EXIF orientation of the image, which holds for the gain map too.
        max_pixels: Limit on the pixels of image and gain map together.
    """
    place = stream.tell()
    try:
        found = _locate(stream)
        return _decode(*found, size, orientation, max_pixels - size[0] * size[1]) if found else None
    finally:
        stream.seek(place)


def _segments(stream: BinaryIO, start: int) -> Iterator[Segment]:
    """Yield the segments of the JPEG at `start` up to its pixels; none when no JPEG is there."""
    stream.seek(start)
    if stream.read(2) != b"\xff\xd8":
        return
    offset = start + 2
    for _ in range(MAX_SEGMENTS):
        stream.seek(offset)
        head = stream.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] in (0xD9, 0xDA):
            return
        if head[1] == 0xFF:  # a fill byte
            offset += 1
            continue
        length = int.from_bytes(head[2:], "big")
        data = stream.read(max(0, length - 2)) if head[1] in (0xE1, 0xE2) else b""
        yield Segment(head[1], offset + 4, data)
        offset += 2 + max(2, length)


def _xmp(segments: list[Segment]) -> bytes:
    """Return the XMP packet of an image; empty when it has none."""
    starts = (each for each in segments if each.marker == 0xE1 and each.data.startswith(XMP_HEADER))
    return next((each.data[len(XMP_HEADER) :] for each in starts), b"")


def _locate(stream: BinaryIO) -> tuple[bytes, GainMapMetadata] | None:
    """Read the file of the gain map. Return None when an index is wrong, or when the indexes contradict each other."""
    segments = list(_segments(stream, 0))
    end = stream.seek(0, os.SEEK_END)
    tree = parse_xmp(_xmp(segments))
    items = container_items(tree) if tree is not None else []
    listed = [at for at, item in enumerate(items) if item.semantic == "GainMap"]
    if len(listed) > 1:
        return None
    length = items[listed[0]].length if listed else None
    images = _indexed_images(segments)
    if images is None:
        # The items follow one another up to the end of the file.
        later = items[listed[0] :] if listed else []
        images = [(end - sum(item.length + item.padding for item in later), length or 0)]
    for offset, size in images:
        if length in (None, size) and 0 < offset < offset + size <= end and size <= MAX_MAP_BYTES:
            stream.seek(offset)
            body = stream.read(size)
            metadata = _metadata(list(_segments(io.BytesIO(body), 0)))
            if metadata is not None:
                return body, metadata
    return None


def _indexed_images(segments: list[Segment]) -> list[tuple[int, int]] | None:
    """Read offset and length of each image but the first from the multi-picture index; None when there is no index."""
    index = next((each for each in segments if each.marker == 0xE2 and each.data.startswith(MPF_HEADER)), None)
    if index is None:
        return None
    body = index.data[len(MPF_HEADER) :]
    with suppress(struct.error):
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(body[:4])
        if order is None:
            return []
        directory = struct.unpack_from(order + "I", body, 4)[0]
        for at in range(struct.unpack_from(order + "H", body, directory)[0]):
            tag, _, length, entries = struct.unpack_from(order + "HHII", body, directory + 2 + 12 * at)
            if tag == 0xB002:
                count = min(length // 16, MAX_IMAGES)
                found = [struct.unpack_from(order + "III", body, entries + 16 * each) for each in range(1, count)]
                return [(index.offset + len(MPF_HEADER) + offset, size) for _, size, offset in found]
    return []


def _metadata(segments: list[Segment]) -> GainMapMetadata | None:
    """Read the metadata of a gain map. The form of ISO 21496-1 counts before XMP, as in other readers."""
    for segment in segments:
        if segment.marker == 0xE2 and segment.data.startswith(ISO_HEADER):
            return from_iso(segment.data[len(ISO_HEADER) :])
    tree = parse_xmp(_xmp(segments))
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
