"""Dropped information: list what a source carries and its rendition does not.

The names are a closed list. A name is listed when the source carries the information and the rendition does not hold
it, whatever the reason: `keep` does not name it, the format cannot hold it, or the pipeline cannot carry it over.

EXIF descriptions and locations are the exception. Removing them is the default, for privacy, so they are listed only
where `keep` names them and the rendition cannot hold them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, get_args

DroppedName = Literal[
    "ai_label",
    "animation",
    "auxiliary_images",
    "c2pa",
    "color_precision",
    "copyright",
    "damaged_metadata",
    "depth",
    "exif",
    "extra_channels",
    "gain_map",
    "georeference",
    "hdr",
    "layers",
    "location",
    "motion_photo",
    "other_images",
    "panorama",
    "transparency",
    "xmp_rights",
]

MEANINGS: dict[DroppedName, str] = {
    "ai_label": "the label of AI-generated content (IPTC DigitalSourceType)",
    "animation": "all frames but one",
    "auxiliary_images": "mattes and other auxiliary images of a HEIC or AVIF file",
    "c2pa": "content credentials: a C2PA manifest",
    "color_precision": "more than 8 bits per channel",
    "copyright": "copyright and artist in EXIF",
    "damaged_metadata": "metadata and color information that is damaged, such as a PNG chunk with a wrong checksum",
    "depth": "a depth or disparity map",
    "exif": "descriptions and camera settings that `keep` names and the format cannot hold",
    "extra_channels": "channels of a TIFF beside color and alpha: spot colors, masks",
    "gain_map": "an HDR gain map (Ultra HDR, ISO 21496-1, Apple)",
    "georeference": "the map position of the pixels (GeoTIFF)",
    "hdr": "brightness above SDR white (PQ, HLG), tone-mapped",
    "layers": "the layers of a TIFF from Photoshop",
    "location": "the location that `keep` names and the format cannot hold",
    "motion_photo": "the video of a motion photo",
    "other_images": "other pages of a TIFF, other images of a HEIC, AVIF or multi-picture JPEG file",
    "panorama": "the projection of a panorama (GPano)",
    "transparency": "transparency that the format cannot hold, or that is damaged",
    "xmp_rights": "rights and credits in XMP or IPTC-IIM",
}
"""Meaning of each name, for the docs and the interfaces."""

NAMES: tuple[DroppedName, ...] = get_args(DroppedName)


def list_dropped(carried: Collection[str], lost: Collection[str], held: Collection[str]) -> list[str]:
    """List what a rendition does not carry over, by name and in alphabetical order.

    Args:
        carried: Information that the source carries and that a rendition may hold.
        lost: Information that this rendition lacks in any case, such as `Source.dropped`.
        held: Information that the rendition's file holds.
    """
    return sorted((set(carried) - set(held)) | set(lost))
