"""Metadata of renditions: copy only the named kinds. The location is never copied unless named."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import pil
from ..decode.exif import exif_of

EXIF_KINDS = frozenset({"copyright", "exif", "location"})
"""Kinds of metadata that the EXIF block of a rendition holds."""

COPYRIGHT_TAGS = (0x8298, 0x013B)
"""Copyright and Artist (Exif 2.3, 4.6.4 D)."""

GPS_POINTER = 0x8825
"""Pointer to the GPS fields."""

EXIF_POINTER = 0x8769
"""Pointer to the Exif fields."""

DESCRIPTION_TAGS = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x4746, 0x4749, *range(0x9C9B, 0x9CA0))
"""Tags of the first directory that `exif` keeps.

They are description, maker, model, software and date; ratings; and title, comment, author, keywords and subject as
Windows writes them. Other tags describe the pixel layout of the source, which has changed, or hold data of other
programs: layers, thumbnails, more metadata.
"""

DROPPED_EXIF_TAGS = frozenset({0x927C, 0xA005, 0x9286, 0x9214, 0xA214})
"""Exif fields that are never kept.

They are maker notes and user comments, which can hide anything, the interoperability pointer, and positions in the
pixels of the source.
"""

DIMENSION_TAGS = (0xA002, 0xA003)
"""Width and height in pixels (Exif 2.3, 4.6.5 C)."""


@dataclass(frozen=True)
class ExifLimits:
    """The size of a rendition in pixels, and the limits of its EXIF block: `max_bytes`, and `flat`.

    `flat` omits nested directories (camera settings, location), which libtiff cannot write.
    """

    size: tuple[int, int]
    flat: bool = False
    max_bytes: int | None = None


@dataclass(frozen=True)
class KeptExif:
    """The EXIF block of a rendition, empty when nothing is left, and names (`encode.dropped`) of what it lacks.

    It lacks what `keep` names and the block cannot hold, and the copyright where `keep` does not name it. Descriptions
    and locations that `keep` does not name are removed by design.
    """

    body: bytes
    lost: frozenset[str]


def kept_exif(image: pil.Image.Image, keep: Sequence[str], limits: ExifLimits) -> KeptExif:
    """Build the EXIF block of a rendition. A `max_bytes` of 0 makes none."""
    kinds, lost = EXIF_KINDS & set(keep), set[str]()
    try:
        source, exif = exif_of(image), pil.Image.Exif()
        rights = {tag: source[tag] for tag in COPYRIGHT_TAGS if tag in source}
        if rights and not kinds & {"copyright", "exif"}:
            lost.add("copyright")
        if not kinds:
            return KeptExif(b"", frozenset(lost))
        if "exif" in kinds:
            _copy_exif(source, exif, limits, lost)
        if kinds & {"copyright", "exif"}:
            exif.update(rights)
        place = source.get_ifd(GPS_POINTER) if "location" in kinds else {}
        if place and limits.flat:
            lost.add("location")
        elif place:
            exif.get_ifd(GPS_POINTER).update(place)
        anything = len(exif) or exif.get_ifd(EXIF_POINTER) or exif.get_ifd(GPS_POINTER)
        body = _fit(exif, limits.max_bytes, lost) if anything else b""
        return KeptExif(body, frozenset(lost))
    except Exception:  # noqa: BLE001 - parsers raise many classes on damaged metadata, which is then dropped
        return KeptExif(b"", frozenset(lost))


def _fit(exif: pil.Image.Exif, max_bytes: int | None, lost: set[str]) -> bytes:
    """Encode the block without its largest fields, as far as it is too long, and add what is left out to `lost`."""
    while len(body := exif.tobytes()) > (len(body) if max_bytes is None else max_bytes):
        details, location = exif.get_ifd(EXIF_POINTER), exif.get_ifd(GPS_POINTER)
        places: list[tuple[MutableMapping[int, Any], int]] = [
            (exif, tag) for tag in exif if tag not in (EXIF_POINTER, GPS_POINTER)
        ]
        places += [(part, tag) for part in (details, location) for tag in part]
        if not places:
            return b""
        fields, largest = max(places, key=lambda place: _length(place[0][place[1]]))
        del fields[largest]
        lost.add("location" if fields is location else "copyright" if largest in COPYRIGHT_TAGS else "exif")
    return body


def _length(value: Any) -> int:  # noqa: ANN401 - a field holds a number, a text, bytes or a tuple of them
    """Estimate the encoded length of a field in bytes."""
    return len(value) if isinstance(value, (str, bytes)) else 8 * len(value) if isinstance(value, tuple) else 8


def _copy_exif(source: pil.Image.Exif, exif: pil.Image.Exif, limits: ExifLimits, lost: set[str]) -> None:
    """Copy descriptions and camera settings."""
    exif.update({tag: source[tag] for tag in DESCRIPTION_TAGS if tag in source})
    if limits.flat:
        if source.get_ifd(EXIF_POINTER):
            lost.add("exif")
        return
    fields: dict[int, Any] = {
        tag: value for tag, value in source.get_ifd(EXIF_POINTER).items() if tag not in DROPPED_EXIF_TAGS
    }
    fields |= {tag: side for tag, side in zip(DIMENSION_TAGS, limits.size, strict=True) if tag in fields}
    exif.get_ifd(EXIF_POINTER).update(fields)
