"""Resize: by sides or by a factor, in five modes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ..base import SizeForecast, Transform, TransformContext
from ..canvas import on_canvas
from ..constraints import Color, Help, Range, Side, rgba
from ..errors import EngineError
from ..geometry import cover_box, largest_inside, scaled
from ..image_view import Box, ImageView, Size, resampling
from .focus import GravityList, crop_offset, focal_after_crop, focal_on_canvas


@dataclass(frozen=True)
class Resize(Transform, name="resize", example={"width": 300, "height": 300, "mode": "cover"}):
    """Resize the image by its sides or by a factor; enlarge it only on request."""

    width: Annotated[Side | None, Help("width in pixels; with fit, one side may be omitted")] = None
    height: Annotated[Side | None, Help("height in pixels")] = None
    scale: Annotated[
        Annotated[float, Range(0.001, 16)] | None, Help("factor for both sides, instead of width and height")
    ] = None
    mode: Annotated[
        Literal["fit", "cover", "contain", "pad", "stretch"],
        Help(
            "fit: the whole image, at most width×height. cover: fill width×height and cut off the rest. "
            "contain: the whole image on a canvas of exactly width×height. "
            "pad: as contain, on the smallest canvas of that aspect ratio. stretch: distort to width×height"
        ),
    ] = "fit"
    gravity: Annotated[
        GravityList, Help("the part that cover keeps (as in crop), or the position of the image with contain and pad")
    ] = "center"
    background: Annotated[Color, Help("color of the canvas of contain and pad")] = "white"
    filter: Annotated[
        Literal["lanczos", "bicubic", "bilinear", "box", "nearest"],
        Help("lanczos is the sharpest, box the fastest, nearest keeps hard edges of pixels"),
    ] = "lanczos"
    enlarge: Annotated[bool, Help("true: also enlarge small images")] = False

    def __post_init__(self) -> None:
        """Check that the parameters define a size."""
        if (self.scale is None) == (self.width is None and self.height is None):
            raise ValueError("resize takes width and height (or one of them), or scale")
        if self.mode != "fit" and (self.width is None or self.height is None):
            raise ValueError(f"mode {self.mode} needs both width and height")

    def forecast(self, size: Size) -> SizeForecast | None:
        """Forecast the size. A resize needs no more pixels than it makes; a canvas around unscaled pixels needs all."""
        target = self._target_size(size)
        if target == size and self.mode in ("contain", "pad"):
            return None
        if self.mode == "cover":
            # The part that is cut off needs pixels too: the scale of the kept part counts.
            kept = cover_box(size, target[0] / target[1], (0, 0))
            target = scaled(size, target[0] / (kept[2] - kept[0]))
        return SizeForecast(target, resampled=target[0] < size[0] or target[1] < size[1])

    def apply(self, view: ImageView, context: TransformContext) -> ImageView:
        """Resize the view, and place it on a canvas for contain and pad."""
        self._check(view.size, context)
        target = self._target_size(view.size)
        part = self._cover_part(view, target, context)
        if part is not None:
            context.focal = focal_after_crop(context.focal, view.size, part)
        if target != view.size or part is not None:
            view = view.resize(target, resampling(self.filter), part)
        canvas = self._canvas(target)
        if canvas is None or canvas == view.size:
            return view
        at = crop_offset(self.gravity, view, canvas, context, self)
        context.focal = focal_on_canvas(context.focal, view.size, canvas, at)
        return ImageView.from_image(on_canvas(view.read_pixels(), canvas, at, rgba(self.background)))

    def _target_size(self, size: Size) -> Size:
        """Return the size of the image itself, without canvas."""
        if self.scale is not None:
            return scaled(size, self._limit(self.scale))
        if self.mode in ("fit", "contain", "pad"):
            factors = [side / size[i] for i, side in enumerate((self.width, self.height)) if side]
            return self._fit(size, self._limit(min(factors)))
        wide, high = self.width or size[0], self.height or size[1]
        if self.mode == "stretch":
            return (wide, high) if self.enlarge else (min(wide, size[0]), min(high, size[1]))
        if self.enlarge or (wide <= size[0] and high <= size[1]):
            return wide, high
        inside = largest_inside(size, wide / high)
        return min(inside[0], wide), min(inside[1], high)

    def _fit(self, size: Size, factor: float) -> Size:
        """Scale both sides by `factor`, with the limiting side exactly as requested."""
        width, height = scaled(size, factor)
        return min(width, self.width or width), min(height, self.height or height)

    def _limit(self, factor: float) -> float:
        """Limit the factor to 1, unless the recipe enlarges."""
        return factor if self.enlarge else min(factor, 1.0)

    def _cover_part(self, view: ImageView, target: Size, context: TransformContext) -> Box | None:
        """Return the part that cover keeps; None for the whole image."""
        size, aspect = view.size, target[0] / target[1]
        if self.mode != "cover" or size[0] * target[1] == size[1] * target[0]:
            return None
        kept = largest_inside(size, aspect)
        return cover_box(size, aspect, crop_offset(self.gravity, view, kept, context, self))

    def _canvas(self, inner: Size) -> Size | None:
        """Return the canvas size of contain and pad; None for the other modes."""
        if self.mode not in ("contain", "pad") or self.width is None or self.height is None:
            return None
        if self.mode == "contain":
            return self.width, self.height
        factor = max(inner[0] / self.width, inner[1] / self.height)
        return max(inner[0], round(self.width * factor)), max(inner[1], round(self.height * factor))

    def _check(self, size: Size, context: TransformContext) -> None:
        """Check the size of the result against the limit."""
        target = self._target_size(size)
        width, height = self._canvas(target) or target
        if width * height > context.max_pixels or max(width, height) > 65_535:
            raise EngineError(
                "rendition_too_large",
                f"resizing to {width}×{height} makes {width * height:,} pixels; the limit is {context.max_pixels:,}: "
                f"choose a smaller size",
            )
