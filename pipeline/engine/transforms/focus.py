"""What a crop keeps: a fixed side, the focal point, or the busiest part."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated, Literal

from ..base import TransformContext
from ..constraints import ItemCount
from ..geometry import anchor, place
from ..image_view import Box, ImageView, Size

if TYPE_CHECKING:
    from PIL import Image

CropGravity = Literal[
    "center",
    "top",
    "bottom",
    "left",
    "right",
    "top-left",
    "top-right",
    "bottom-left",
    "bottom-right",
    "focal",
    "smart",
]
GravityList = CropGravity | Annotated[list[CropGravity], ItemCount(1, 5)]

SMART_SIDE_PIXELS = 128
"""Side in pixels of the picture that `smart` looks at."""


def crop_offset(
    gravity: str | Sequence[str], view: ImageView, part: Size, context: TransformContext, step: object
) -> tuple[float, float]:
    """How the room that a crop to `part` leaves is shared out: fractions left and above.

    `focus` may be a chain: `focal` steps aside when no focal point is known, `smart` when nothing stands out.
    """
    for name in [gravity] if isinstance(gravity, str) else gravity:
        if name == "focal":
            if context.focal:
                return _offset_for_point(context.focal, view.size, part)
        elif name == "smart":
            found = context.decide_once((id(step), "smart"), lambda: _busiest_offset(view, part))
            if found:
                return found
        else:
            return anchor(name)
    return 0.5, 0.5


def _offset_for_point(point: tuple[float, float], size: Size, part: Size) -> tuple[float, float]:
    """The shares that bring `point` nearest to the middle of the part."""
    shares = []
    for at, whole, kept in zip(point, size, part, strict=True):
        room = whole - kept
        start = min(max(at * whole - kept / 2, 0), room)
        shares.append(start / room if room > 0 else 0.5)
    return shares[0], shares[1]


def focal_after_crop(point: tuple[float, float] | None, size: Size, box: Box) -> tuple[float, float] | None:
    """The focal point as fractions of what a crop to `box` left; on its edge when it was cut off."""
    if point is None:
        return None
    across = (point[0] * size[0] - box[0]) / (box[2] - box[0])
    down = (point[1] * size[1] - box[1]) / (box[3] - box[1])
    return min(max(across, 0.0), 1.0), min(max(down, 0.0), 1.0)


def focal_on_canvas(
    point: tuple[float, float] | None, size: Size, canvas: Size, anchor: tuple[float, float]
) -> tuple[float, float] | None:
    """The focal point as fractions of a larger canvas, on which the picture lies as `on_canvas` puts it."""
    left, top = place(size, canvas, anchor)
    return focal_after_crop(point, size, (-left, -top, canvas[0] - left, canvas[1] - top))


def _busiest_offset(view: ImageView, part: Size) -> tuple[float, float] | None:
    """The shares that keep the most edges; None when the picture is even.

    A crop to an aspect moves along one side only, so the sum of edges per column (or row) is all that is needed.
    """
    small = view.thumbnail(SMART_SIDE_PIXELS)
    edges = _edges(small)
    shares = []
    for axis in (0, 1):
        line = edges.resize((small.width, 1) if axis == 0 else (1, small.height), _box()).tobytes()
        kept = max(1, round(part[axis] / view.size[axis] * len(line)))
        shares.append(_best_window(line, kept))
    if all(share is None for share in shares):
        return None
    across, down = (0.5 if share is None else share for share in shares)
    return across, down


def _edges(image: Image.Image) -> Image.Image:
    """How much each pixel differs from those around it, in brightness or in color."""
    from PIL import Image, ImageChops, ImageFilter, ImageOps

    colors = image.convert("RGB")
    found = [ImageOps.expand(band, 1).filter(ImageFilter.FIND_EDGES) for band in colors.split()]
    strongest = ImageChops.lighter(ImageChops.lighter(found[0], found[1]), found[2])
    # The outermost pixels differ from the frame that was put around them, and say nothing.
    inner = strongest.crop((2, 2, strongest.width - 2, strongest.height - 2)) if min(strongest.size) > 4 else strongest
    canvas = Image.new("L", image.size)
    canvas.paste(inner, (1, 1))
    return canvas.point([min(255, value * 2) for value in range(256)])


def _best_window(line: bytes, kept: int) -> float | None:
    """Where along the line the window of `kept` values with the largest sum starts, as a share of its free room."""
    room = len(line) - kept
    if room <= 0 or max(line) - min(line) < 4:
        return None
    sums = [0, *accumulate(line)]
    # Of windows that are all but equal the middle one is taken.
    scores = [(sums[at + kept] - sums[at]) * 1000 - abs(2 * at - room) for at in range(room + 1)]
    return scores.index(max(scores)) / room


def _box() -> Image.Resampling:
    from PIL import Image

    return Image.Resampling.BOX
