"""Auto orient: rotate the image upright by its EXIF orientation."""

from __future__ import annotations

from dataclasses import dataclass

from .. import pil
from ..base import DecodingTransform
from ..image_view import Size

ORIENTATION = 0x0112
"""The EXIF tag (Exif 2.3, 4.6.4): 1 is upright, 2 to 8 are the other rotations and reflections."""

_UPRIGHT = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


@dataclass(frozen=True)
class AutoOrient(DecodingTransform, name="auto_orient", example={}):
    """Rotate the image upright by its EXIF orientation. Always applied first; naming it changes nothing."""


def swaps_sides(orientation: int) -> bool:
    """Return True when orientation swaps width and height."""
    return orientation in {5, 6, 7, 8}


def covers(stored: Size, shrunk: int, full: Size, orientation: int) -> tuple[int, int, int, int]:
    """Return the box of the upright image that `stored` pixels show, at `shrunk`×`shrunk` image pixels each.

    The sides of a JPEG that is decoded at a fraction of its size are rounded up. Its last pixels then reach slightly
    beyond the image: at the right and at the bottom as stored, which may be any side after orientation. Treating them
    as the edge of the image would shift it by a fraction of a pixel.
    """
    width, height = stored[0] * shrunk, stored[1] * shrunk
    if swaps_sides(orientation):
        width, height = height, width
    left = full[0] - width if orientation in {2, 3, 6, 7} else 0
    top = full[1] - height if orientation in {3, 4, 7, 8} else 0
    return left, top, left + width, top + height


def upright(image: pil.Image.Image, orientation: int) -> pil.Image.Image:
    """Rotate and mirror `image` to undo an EXIF orientation. Values outside 2 to 8 change nothing."""
    name = _UPRIGHT.get(orientation)
    return image.transpose(pil.Image.Transpose[name]) if name else image
