"""Image views: pixels at several scales, and the part in view.

A crop moves the view only. A resize reads from the smallest scale with enough pixels. Therefore one decode serves all
renditions, a JPEG can be decoded at a half or a quarter of its size, and a thumbnail can be made from a larger
rendition. Transforms still count in pixels of the full size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from . import pil

Size = tuple[int, int]
Box = tuple[float, float, float, float]

REUSE_MARGIN = 1.9
"""A resized image is reused for a smaller one if its sides are at least this many times larger.

Each resampling loses a little of the highest frequencies. At this ratio the smaller image lacks them anyway.
"""

REDUCING_GAP = 2.0
"""Pillow may first average whole blocks of pixels while this many times the requested sides remain."""


@dataclass(frozen=True)
class PixelLevel:
    """Hold pixels that show `box` of the full image at some scale. `kernel` is set for resampled pixels."""

    image: pil.Image.Image
    box: Box
    kernel: int | None = None

    def scale(self) -> float:
        """Return the pixels here per pixel of the full size: the lesser of both directions."""
        left, top, right, bottom = self.box
        return min(self.image.width / (right - left), self.image.height / (bottom - top))

    def to_level_box(self, box: Box) -> Box:
        """Convert `box` of the full image to the coordinates of these pixels."""
        left, top, right, bottom = self.box
        across = self.image.width / (right - left)
        down = self.image.height / (bottom - top)
        inner = ((box[0] - left) * across, (box[1] - top) * down, (box[2] - left) * across, (box[3] - top) * down)
        # Rounding may go past the edge by a tiny amount, which Pillow rejects.
        return max(inner[0], 0.0), max(inner[1], 0.0), min(inner[2], self.image.width), min(inner[3], self.image.height)

    def covers(self, box: Box) -> bool:
        """Return True when these pixels show all of `box`."""
        mine = self.box
        return mine[0] <= box[0] and mine[1] <= box[1] and mine[2] >= box[2] and mine[3] >= box[3]


@dataclass(frozen=True)
class ImageView:
    """Show the part `box` of an image, in pixels of its full size. Views of the same pixels share `levels`.

    `origin` is the part of the source that the view shows, in pixels of the upright source. It is None after a
    transform that changes more than part and size.
    """

    levels: list[PixelLevel] = field(repr=False)
    box: tuple[int, int, int, int]
    origin: Box | None = None

    @classmethod
    def from_image(cls, image: pil.Image.Image, full: Size | None = None, covered: Box | None = None) -> ImageView:
        """View all of `image`.

        For an image decoded at a fraction of its size, `full` is the size that it counts as and `covered` the box that
        its pixels show.
        """
        width, height = full or image.size
        box = (0, 0, width, height)
        return cls([PixelLevel(image, covered or box)], box)

    @property
    def size(self) -> Size:
        """Width and height of the view in pixels."""
        left, top, right, bottom = self.box
        return right - left, bottom - top

    def crop(self, box: tuple[int, int, int, int]) -> ImageView:
        """Return a view of the part `box` (left, top, right, bottom in pixels of this view). No pixels are copied."""
        left, top = self.box[:2]
        moved = (left + box[0], top + box[1], left + box[2], top + box[3])
        return ImageView(self.levels, moved, self._origin_of(box))

    def copy_pixels(self) -> pil.Image.Image:
        """Return a copy of the pixels in view at full size, which the caller may change."""
        image = self.read_pixels()
        return image.copy() if image is self.levels[0].image else image

    def read_pixels(self) -> pil.Image.Image:
        """Return the pixels in view at full size. They may be shared: the caller must not change them."""
        base = self.levels[0]
        if base.scale() != 1:
            return self._resample(base, self.size, self.box, resampling("lanczos"))
        whole: Box = self.box
        return base.image if base.box == whole else base.image.crop(self.box)

    def thumbnail(self, side: int) -> pil.Image.Image:
        """Return the view scaled down to fit a square of `side` pixels, for analysis only."""
        factor = min(1.0, side / max(self.size))
        small = (max(1, round(self.size[0] * factor)), max(1, round(self.size[1] * factor)))
        return self._resample(self._best_level(self.box, small, 1.0, None), small, self.box, resampling("box"))

    def resize(self, size: Size, kernel: int, part: Box | None = None) -> ImageView:
        """Resample the view, or its `part`, to `size` and return a view of the result.

        `part` is a box in pixels of this view; fractions are allowed. `kernel` is one of Pillow's resampling filters.
        """
        box = self._full_box(part)
        made = self._resample(self._best_level(box, size, REUSE_MARGIN, kernel), size, box, kernel)
        self.levels.append(PixelLevel(made, box, kernel))
        return replace(ImageView.from_image(made), origin=self._origin_of(part or (0, 0, *self.size)))

    def sample(self, size: Size, kernel: int, part: Box) -> pil.Image.Image:
        """Resample a `part` as `resize` does, without keeping the pixels for smaller renditions."""
        box = self._full_box(part)
        return self._resample(self._best_level(box, size, 1.0, kernel), size, box, kernel)

    def convert(self, change: Callable[[pil.Image.Image], pil.Image.Image]) -> ImageView:
        """Return a view of changed pixels: `change` gets the pixels in their stored scale and keeps their size."""
        base = self.levels[0]
        return replace(self, levels=[replace(base, image=change(base.image))])

    def _origin_of(self, part: Box) -> Box | None:
        """Convert a box in pixels of this view to pixels of the upright source."""
        if self.origin is None:
            return None
        left, top, right, bottom = self.origin
        across, down = (right - left) / self.size[0], (bottom - top) / self.size[1]
        return left + part[0] * across, top + part[1] * down, left + part[2] * across, top + part[3] * down

    def _full_box(self, part: Box | None) -> Box:
        """Convert a box in pixels of this view, or the whole view, to pixels of the full image."""
        left, top = self.box[:2]
        return self.box if part is None else (part[0] + left, part[1] + top, part[2] + left, part[3] + top)

    def _best_level(self, box: Box, size: Size, margin: float, kernel: int | None) -> PixelLevel:
        """Find the smallest level that shows `box` with `margin` times the requested sides."""
        need = max(size[0] / (box[2] - box[0]), size[1] / (box[3] - box[1]))
        good = [level for level in self.levels[1:] if level.covers(box) and level.scale() >= need * margin]
        if kernel is not None:
            good = [level for level in good if level.kernel == kernel]
        return min(good, key=PixelLevel.scale, default=self.levels[0])

    @staticmethod
    def _resample(level: PixelLevel, size: Size, box: Box, kernel: int) -> pil.Image.Image:
        """Resample `box` of a level to `size`."""
        return level.image.resize(
            size, pil.Image.Resampling(kernel), level.to_level_box(box), reducing_gap=REDUCING_GAP
        )


def resampling(name: str) -> pil.Image.Resampling:
    """Return Pillow's resampling filter of a name: lanczos, bicubic, bilinear, box or nearest."""
    return pil.Image.Resampling[name.upper()]
