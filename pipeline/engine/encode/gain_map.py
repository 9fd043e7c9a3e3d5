"""Write the gain map of a rendition: crop and resize it like the image, and put both into one JPEG file.

The file follows Ultra HDR 1.1 and ISO 21496-1, so that readers of either find the gain map:

    image:     … APP1 XMP (container directory) · APP2 ISO (version) · APP2 MPF (index) …
    gain map:  APP1 XMP (hdrgm) · APP2 ISO (metadata) · APP2 ICC (where the source has one) …

All segments are written from numbers. No byte of the source's metadata is copied, except the profile.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import takewhile

from .. import pil
from ..containers import jpeg
from ..containers.jpeg import ICC_HEADER, MPF_HEADER, XMP_HEADER, build_segment
from ..decode.gain_map import GainMap
from ..gain_map_metadata import GainMapMetadata
from ..image_view import Box, ImageView, Size, resampling
from .gain_values import gains_of_rendition

MAP_QUALITY = 95
"""Quality of the gain map as JPEG, whatever that of the image: errors of the gain map are errors of brightness."""

MAX_MAP_SHARE = 0.4
"""Largest share of `max_bytes` for the gain map. If it needs more, the image alone gets them all."""

MAX_DENOMINATOR = 2**20
"""Largest denominator of a written fraction. Numerators of 16 stops then fit into 31 bits."""

MAX_ASPECT_ERROR = 0.005
"""Largest difference between the aspect ratios of gain map and image. libultrahdr refuses 1 %."""


COMPUTED_SCALE, COMPUTED_REDUCTION = 0.55, 1.5
"""The gain map of an image that is reduced this many times gets the image's size from this share of its sides on."""


@dataclass(frozen=True)
class MapSource:
    """The gain map of the source, and the part of the upright source of `size` pixels that a rendition shows.

    `view` shows the whole upright source.
    """

    gain_map: GainMap
    view: ImageView
    part: Box


def encode_map(source: MapSource, shown: pil.Image.Image, max_bytes: int | None = None) -> bytes:
    """Encode the gain map of the rendition whose pixels are `shown`.

    Return no bytes when the gain map would take more than `MAX_MAP_SHARE` of a file of `max_bytes`.
    """
    size = map_size(source, shown.size)
    image = gains_of_rendition(source.gain_map, source.view, source.part, shown) if size == shown.size else None
    if image is None:
        image = source.gain_map.image.resize(size, resampling("lanczos"), map_box(source), reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=MAP_QUALITY, subsampling="4:4:4", optimize=True)
    body = tagged_map(buffer.getvalue(), source.gain_map)
    return body if max_bytes is None or len(body) <= max_bytes * MAX_MAP_SHARE else b""


def tagged_map(body: bytes, gain_map: GainMap) -> bytes:
    """Add metadata and profile to the file of a gain map."""
    segments = [build_segment(0xE2, jpeg.ISO_GAIN_MAP_HEADER + iso_metadata(gain_map.metadata))]
    if gain_map.metadata.base_colors:  # the XMP form cannot express another color space
        segments.insert(0, build_segment(0xE1, XMP_HEADER + _packet(_map_description(gain_map.metadata))))
    return _insert(body, b"".join([*segments, *_profile_segments(gain_map.profile)]))


def attach_map(body: bytes, gain_map: bytes) -> bytes:
    """Join the file of an image and the file of its gain map, and index both.

    The image may have an XMP packet already, written by this engine; its properties are kept.
    """
    body, packet = _without_xmp(body)
    directory = _image_description(len(gain_map))
    packet = packet.replace(b"</rdf:RDF>", directory.encode() + b"</rdf:RDF>") if packet else _packet(directory)
    head = build_segment(0xE1, XMP_HEADER + packet) + build_segment(0xE2, jpeg.ISO_GAIN_MAP_HEADER + bytes(4))
    place = _after_leading_segments(body)
    size = len(body) + len(head) + len(_index_segment(0, 0, 0))
    # Offsets in the index count from behind its identifier (CIPA DC-007, 5.2.3.3).
    origin = place + len(head) + 4 + len(MPF_HEADER)
    return b"".join((body[:place], head, _index_segment(size, len(gain_map), size - origin), body[place:], gain_map))


def map_box(source: MapSource) -> Box:
    """Return the part that the rendition shows, in pixels of the gain map. It covers the same area as the image."""
    image, (width, height) = source.gain_map.image, source.view.size
    across, down = image.width / width, image.height / height
    left, top, right, bottom = source.part
    return left * across, top * down, min(right * across, image.width), min(bottom * down, image.height)


def map_size(source: MapSource, size: Size) -> Size:
    """Return the size of the gain map of a rendition of `size`: all pixels that it has, but no more than the image.

    The aspect ratio of the image is kept within `MAX_ASPECT_ERROR`, which small sizes need more pixels for. A gain map
    that is slightly smaller than a reduced image gets its size, so that its gains can be computed.
    """
    left, top, right, bottom = map_box(source)
    scale = max((right - left) / size[0], (bottom - top) / size[1])
    reduction = min((source.part[2] - source.part[0]) / size[0], (source.part[3] - source.part[1]) / size[1])
    if scale >= COMPUTED_SCALE and reduction >= COMPUTED_REDUCTION:
        return size
    for height in range(max(1, round(size[1] * scale)), size[1]):
        width = round(height * size[0] / size[1])
        if width and abs(width * size[1] / (height * size[0]) - 1) <= MAX_ASPECT_ERROR:
            return width, height
    return size


def iso_metadata(metadata: GainMapMetadata) -> bytes:
    """Encode metadata in the binary form of ISO 21496-1."""
    flags = (0x80 if len(metadata.channels) == 3 else 0) | (0x40 if metadata.base_colors else 0)
    body = struct.pack(">HHB", 0, 0, flags) + _fraction(metadata.headroom_min) + _fraction(metadata.headroom_max)
    for each in metadata.channels:
        numbers = (each.minimum, each.maximum, each.gamma, each.offset_sdr, each.offset_hdr)
        body += b"".join(_fraction(number) for number in numbers)
    return body


def _fraction(number: float) -> bytes:
    """Encode a number as a fraction of two 32-bit integers."""
    fraction = Fraction(number).limit_denominator(MAX_DENOMINATOR)
    return struct.pack(">iI", fraction.numerator, fraction.denominator)


def _map_description(metadata: GainMapMetadata) -> str:
    """Describe a gain map in Adobe's properties: an attribute for equal channels, a sequence for different ones."""
    names: dict[str, list[float]] = {
        "GainMapMin": [each.minimum for each in metadata.channels],
        "GainMapMax": [each.maximum for each in metadata.channels],
        "Gamma": [each.gamma for each in metadata.channels],
        "OffsetSDR": [each.offset_sdr for each in metadata.channels],
        "OffsetHDR": [each.offset_hdr for each in metadata.channels],
        "HDRCapacityMin": [metadata.headroom_min],
        "HDRCapacityMax": [metadata.headroom_max],
    }
    single = "".join(f' hdrgm:{name}="{_decimal(values[0])}"' for name, values in names.items() if _equal(values))
    listed = "".join(
        f"<hdrgm:{name}><rdf:Seq>"
        + "".join(f"<rdf:li>{_decimal(value)}</rdf:li>" for value in values)
        + f"</rdf:Seq></hdrgm:{name}>"
        for name, values in names.items()
        if not _equal(values)
    )
    return (
        '<rdf:Description rdf:about="" xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0" '
        f'hdrgm:BaseRenditionIsHDR="False"{single}>{listed}</rdf:Description>'
    )


def _equal(values: Sequence[float]) -> bool:
    """Return True when all values are the same."""
    return len(set(values)) == 1


def _decimal(number: float) -> str:
    """Format a number with 8 decimals at most, without exponent."""
    return f"{number:.8f}".rstrip("0").rstrip(".")


def _image_description(length: int) -> str:
    """Describe the file to readers of Ultra HDR: a gain map of `length` bytes follows the image."""
    return (
        '<rdf:Description rdf:about="" xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" '
        'xmlns:Container="http://ns.google.com/photos/1.0/container/" '
        'xmlns:Item="http://ns.google.com/photos/1.0/container/item/" hdrgm:Version="1.0">'
        "<Container:Directory><rdf:Seq>"
        '<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="Primary" Item:Mime="image/jpeg"/></rdf:li>'
        '<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="GainMap" Item:Mime="image/jpeg" '
        f'Item:Length="{length}"/></rdf:li>'
        "</rdf:Seq></Container:Directory></rdf:Description>"
    )


def _packet(description: str) -> bytes:
    """Wrap a description as an XMP packet."""
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f"{description}</rdf:RDF></x:xmpmeta>"
    ).encode()


def _index_segment(size: int, map_size: int, map_offset: int) -> bytes:
    """Build the multi-picture index of two images: an image of `size` bytes, and its gain map (CIPA DC-007, 5.2)."""
    entries = struct.pack(">IIIHH", 0x030000, size, 0, 0, 0) + struct.pack(">IIIHH", 0, map_size, map_offset, 0, 0)
    directory = b"".join(
        (
            b"MM\0*" + struct.pack(">IH", 8, 3),
            struct.pack(">HHI4s", 0xB000, 7, 4, b"0100"),
            struct.pack(">HHII", 0xB001, 4, 1, 2),
            struct.pack(">HHII", 0xB002, 7, len(entries), 50),
            bytes(4),
        )
    )
    return build_segment(0xE2, MPF_HEADER + directory + entries)


def _profile_segments(profile: bytes | None) -> Iterator[bytes]:
    """Split a profile into segments (ICC.1:2022, B.4)."""
    room = jpeg.MAX_SEGMENT_BYTES - len(ICC_HEADER) - 2
    parts = [profile[at : at + room] for at in range(0, len(profile), room)] if profile else []
    for number, part in enumerate(parts, 1):
        yield build_segment(0xE2, ICC_HEADER + bytes((number, len(parts))) + part)


def _after_leading_segments(body: bytes) -> int:
    """Return the offset behind JFIF and EXIF, which readers expect first."""
    leading = takewhile(lambda segment: segment.marker in (0xE0, jpeg.APP1), jpeg.walk_segments(memoryview(body)))
    return max((segment.end for segment in leading), default=2)


def _insert(body: bytes, segments: bytes) -> bytes:
    """Insert segments behind the leading ones."""
    place = _after_leading_segments(body)
    return body[:place] + segments + body[place:]


def _without_xmp(body: bytes) -> tuple[bytes, bytes]:
    """Take the XMP segment out of a file of this engine. Return the file and the packet, which may be empty."""
    found = jpeg.find_payload(memoryview(body), jpeg.APP1, XMP_HEADER)
    if found is None:
        return body, b""
    return body[: found.start - len(XMP_HEADER) - 4] + body[found.end :], body[found.start : found.end]
