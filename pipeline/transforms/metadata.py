"""Metadata that a rendition may keep. What is not named is not kept, and location never comes along by accident."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

COPYRIGHT = (0x8298, 0x013B)
"""Copyright and Artist (Exif 2.3, 4.6.4 D)."""

LOCATION = 0x8825
"""The pointer to the GPS fields."""

CAMERA = 0x8769
"""The pointer to the Exif fields."""

DROPPED = frozenset({0x0112, LOCATION, CAMERA, 0x014A, 0x0201, 0x0202, 0x02BC, 0x8649, 0x83BB, 0x8773})
"""Not kept with exif: orientation (it was applied), pointers, old thumbnails, XMP, Photoshop, IPTC, ICC."""

DROPPED_CAMERA = frozenset({0x927C, 0xA005, 0x9286})
"""Not kept of the Exif fields: maker notes and user comments, which hide anything, and the interoperability pointer."""

_TIFF_LAYOUT = range(0x00FE, 0x0145)
"""Tags that say how a TIFF's pixels lie; meaningless in another file."""


def kept(image: Image.Image, keep: Sequence[str], *, flat: bool = False) -> bytes:
    """The EXIF block that a rendition gets, empty when nothing is left of it.

    `flat` leaves out what lies in directories of its own (camera settings, location): libtiff cannot write them.
    """
    from PIL import Image

    exif = Image.Exif()
    try:
        source = image.getexif()
        if "exif" in keep:
            _copy_camera(source, exif, flat=flat)
        if "exif" in keep or "copyright" in keep:
            exif.update({tag: source[tag] for tag in COPYRIGHT if tag in source})
        if "location" in keep and not flat:
            exif.get_ifd(LOCATION).update(source.get_ifd(LOCATION))
        return exif.tobytes() if len(exif) or exif.get_ifd(LOCATION) else b""
    except Exception:  # noqa: BLE001 - the parsers raise a dozen classes on broken metadata, which is then not kept
        return b""


def _copy_camera(source: Image.Exif, exif: Image.Exif, *, flat: bool) -> None:
    exif.update({tag: source[tag] for tag in source if tag not in DROPPED and tag not in _TIFF_LAYOUT})
    for tag in (0x010F, 0x0110, 0x0131, 0x0132, 0x010E):  # maker, model, software, date, description
        if tag in source:
            exif[tag] = source[tag]
    if flat:
        return
    fields: dict[int, Any] = {tag: value for tag, value in source.get_ifd(CAMERA).items() if tag not in DROPPED_CAMERA}
    exif.get_ifd(CAMERA).update(fields)
