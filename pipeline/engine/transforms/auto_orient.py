"""Auto orient: turn the picture the way the camera was held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..base import SizeForecast, Transform, TransformContext
from ..image_view import ImageView, Size

if TYPE_CHECKING:
    from PIL import Image

ORIENTATION = 0x0112
"""The EXIF tag (Exif 2.3, 4.6.4): 1 is upright, the others name one of seven turns and mirrorings."""

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
class AutoOrient(Transform):
    """Turn the picture upright by its EXIF orientation. Always done first: naming it changes nothing."""

    name: ClassVar[str] = "auto_orient"
    example: ClassVar[dict[str, Any]] = {}

    def forecast(self, size: Size) -> SizeForecast:
        """Nothing changes: the engine turned the picture when it was opened."""
        return SizeForecast(size)

    def apply(self, view: ImageView, context: TransformContext) -> ImageView:
        """The picture as it is."""
        del context
        return view


def swaps_sides(orientation: int) -> bool:
    """True when width and height change places on the way to upright."""
    return orientation in {5, 6, 7, 8}


def covers(stored: Size, shrunk: int, full: Size, orientation: int) -> tuple[int, int, int, int]:
    """The part of the upright picture that `stored` pixels show, each of them `shrunk`×`shrunk` of its pixels.

    A JPEG that is decoded smaller has its sides rounded up, so its last pixels reach a little beyond the picture: at
    the right and at the bottom as stored, which after turning may be any side. To take them for the picture's own edge
    would shift everything by a part of a pixel.
    """
    width, height = stored[0] * shrunk, stored[1] * shrunk
    if swaps_sides(orientation):
        width, height = height, width
    left = full[0] - width if orientation in {2, 3, 6, 7} else 0
    top = full[1] - height if orientation in {3, 4, 7, 8} else 0
    return left, top, left + width, top + height


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """`image` turned and mirrored so that it stands as it was seen; values outside 2 to 8 change nothing."""
    from PIL import Image

    name = _UPRIGHT.get(orientation)
    return image.transpose(Image.Transpose[name]) if name else image
