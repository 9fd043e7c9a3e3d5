"""Metadata that a rendition may keep. What is not named is not kept, and location never comes along by accident."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from PIL import Image

COPYRIGHT = (0x8298, 0x013B)
"""Copyright and Artist (Exif 2.3, 4.6.4 D)."""

LOCATION = 0x8825
"""The pointer to the GPS fields."""

CAMERA = 0x8769
"""The pointer to the Exif fields."""

DESCRIBING = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x4746, 0x4749, *range(0x9C9B, 0x9CA0))
"""What is kept of the first directory with exif, all of it: description, maker, model, software, date; ratings; title,
comment, author, keywords and subject as Windows has them. Whatever else lies there says how the pixels of the source
lie (which were changed), or holds something of other programs: layers, thumbnails, more metadata."""

DROPPED_CAMERA = frozenset({0x927C, 0xA005, 0x9286, 0x9214, 0xA214})
"""Not kept of the Exif fields: maker notes and user comments, which hide anything, the interoperability pointer, and
places in the pixels of the source."""

SIDES = (0xA002, 0xA003)
"""Width and height in pixels (Exif 2.3, 4.6.5 C)."""


@dataclass(frozen=True)
class Room:
    """What a rendition is like and can hold: its size in pixels, and the most bytes of the block.

    `flat` leaves out what lies in directories of its own (camera settings, location): libtiff cannot write them.
    """

    size: tuple[int, int]
    flat: bool = False
    most: int | None = None


def exif_of(image: Image.Image) -> Image.Exif:
    """Return the EXIF fields in the header of `image`, without decoding its pixels.

    `getexif` of Pillow's PNG reader decodes the pixels to reach an eXIf chunk behind them. If decoding fails then, the
    next `load()` finds nothing left to decode and passes a damaged image as whole.
    """
    from PIL import Image

    return Image.Image.getexif(image)


def late_exif(stream: BinaryIO) -> bytes:
    """Return the EXIF block of a PNG whose eXIf chunk lies behind its pixels, or no bytes. Keep the stream's position.

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


def kept(image: Image.Image, keep: Sequence[str], room: Room) -> bytes:
    """The EXIF block that a rendition gets, empty when nothing is left of it."""
    from PIL import Image

    exif = Image.Exif()
    try:
        source = exif_of(image)
        if "exif" in keep:
            _copy_camera(source, exif, room)
        if "exif" in keep or "copyright" in keep:
            exif.update({tag: source[tag] for tag in COPYRIGHT if tag in source})
        if "location" in keep and not room.flat:
            exif.get_ifd(LOCATION).update(source.get_ifd(LOCATION))
        anything = len(exif) or exif.get_ifd(CAMERA) or exif.get_ifd(LOCATION)
        return _fitting(exif, room.most) if anything else b""
    except Exception:  # noqa: BLE001 - the parsers raise a dozen classes on broken metadata, which is then not kept
        return b""


def _fitting(exif: Image.Exif, most: int | None) -> bytes:
    """The block, its largest fields left out where it would be too long."""
    while len(body := exif.tobytes()) > (most or len(body)):
        places: list[tuple[MutableMapping[int, Any], int]] = [
            (exif, tag) for tag in exif if tag not in (CAMERA, LOCATION)
        ]
        places += [(part, tag) for part in (exif.get_ifd(CAMERA), exif.get_ifd(LOCATION)) for tag in part]
        fields, largest = max(places, key=lambda place: _length(place[0][place[1]]))
        del fields[largest]
    return body


def _length(value: Any) -> int:  # noqa: ANN401 - a field holds a number, a text, bytes or several of them
    return len(value) if isinstance(value, (str, bytes)) else 8 * len(value) if isinstance(value, tuple) else 8


def _copy_camera(source: Image.Exif, exif: Image.Exif, room: Room) -> None:
    exif.update({tag: source[tag] for tag in DESCRIBING if tag in source})
    if room.flat:
        return
    fields: dict[int, Any] = {tag: value for tag, value in source.get_ifd(CAMERA).items() if tag not in DROPPED_CAMERA}
    fields |= {tag: side for tag, side in zip(SIDES, room.size, strict=True) if tag in fields}
    exif.get_ifd(CAMERA).update(fields)
