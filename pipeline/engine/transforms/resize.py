"""Resize: by sides or by a factor, in five modes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from ..base import SizeForecast, Transform, TransformContext
from ..canvas import on_canvas
from ..constraints import Color, Help, Range, Side, rgba
from ..errors import EngineError
from ..geometry import cover_box, largest_inside, scaled
from ..image_view import Box, ImageView, Size
from .focus import GravityList, crop_offset, focal_after_crop, focal_on_canvas


@dataclass(frozen=True)
class Resize(Transform):
    """Make the picture smaller (or larger, when told), by its sides or by a factor."""

    name: ClassVar[str] = "resize"
    example: ClassVar[dict[str, Any]] = {"width": 300, "height": 300, "mode": "cover"}

    width: Annotated[Side | None, Help("width in pixels; with fit, either side may be left out")] = None
    height: Annotated[Side | None, Help("height in pixels")] = None
    scale: Annotated[
        Annotated[float, Range(0.001, 16)] | None, Help("a factor for both sides, instead of width and height")
    ] = None
    mode: Annotated[
        Literal["fit", "cover", "contain", "pad", "stretch"],
        Help(
            "fit: whole picture, at most width×height. cover: fill width×height and cut off the rest. "
            "contain: a canvas of exactly width×height with the whole picture on it. "
            "pad: a canvas of the same shape, no larger than the picture needs. stretch: distort"
        ),
    ] = "fit"
    gravity: Annotated[
        GravityList, Help("what cover keeps (as in crop), and where contain and pad put the picture")
    ] = "center"
    background: Annotated[Color, Help("the rest of the canvas of contain and pad")] = "white"
    filter: Annotated[
        Literal["lanczos", "bicubic", "bilinear", "box", "nearest"],
        Help("lanczos is the sharpest, box the quickest, nearest keeps hard pixels"),
    ] = "lanczos"
    enlarge: Annotated[bool, Help("true: also make small pictures larger")] = False

    def __post_init__(self) -> None:
        """Raise ValueError when the sides do not say a size."""
        if (self.scale is None) == (self.width is None and self.height is None):
            raise ValueError("resize takes width and height (or one of them), or scale")
        if self.mode != "fit" and (self.width is None or self.height is None):
            raise ValueError(f"mode {self.mode} needs both width and height")

    def forecast(self, size: Size) -> SizeForecast | None:
        """A resize needs no more pixels than it makes; a canvas around the pixels as they are needs them all."""
        target = self._target_size(size)
        if target == size and self.mode in ("contain", "pad"):
            return None
        if self.mode == "cover":
            # The part that is cut off needs pixels too: what counts is the scale of the part that stays.
            kept = cover_box(size, target[0] / target[1], (0, 0))
            target = scaled(size, target[0] / (kept[2] - kept[0]))
        return SizeForecast(target, resampled=target[0] < size[0] or target[1] < size[1])

    def apply(self, view: ImageView, context: TransformContext) -> ImageView:
        """The picture at its new size."""
        self._check(view.size, context)
        target = self._target_size(view.size)
        part = self._cover_part(view, target, context)
        if part is not None:
            context.focal = focal_after_crop(context.focal, view.size, part)
        if target != view.size or part is not None:
            view = view.resize(target, _kernel(self.filter), part)
        canvas = self._canvas(target)
        if canvas is None or canvas == view.size:
            return view
        at = crop_offset(self.gravity, view, canvas, context, self)
        context.focal = focal_on_canvas(context.focal, view.size, canvas, at)
        return ImageView.from_image(on_canvas(view.read_pixels(), canvas, at, rgba(self.background)))

    def _target_size(self, size: Size) -> Size:
        """The size that the picture itself gets."""
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
        """Both sides by `factor`, with the side that decided exactly as asked for."""
        width, height = scaled(size, factor)
        return min(width, self.width or width), min(height, self.height or height)

    def _limit(self, factor: float) -> float:
        return factor if self.enlarge else min(factor, 1.0)

    def _cover_part(self, view: ImageView, target: Size, context: TransformContext) -> Box | None:
        """What cover keeps; None for all of it."""
        size, aspect = view.size, target[0] / target[1]
        if self.mode != "cover" or size[0] * target[1] == size[1] * target[0]:
            return None
        kept = largest_inside(size, aspect)
        return cover_box(size, aspect, crop_offset(self.gravity, view, kept, context, self))

    def _canvas(self, inner: Size) -> Size | None:
        """The canvas of contain and pad; None for the other modes."""
        if self.mode not in ("contain", "pad") or self.width is None or self.height is None:
            return None
        if self.mode == "contain":
            return self.width, self.height
        factor = max(inner[0] / self.width, inner[1] / self.height)
        return max(inner[0], round(self.width * factor)), max(inner[1], round(self.height * factor))

    def _check(self, size: Size, context: TransformContext) -> None:
        target = self._target_size(size)
        width, height = self._canvas(target) or target
        if width * height > context.max_pixels or max(width, height) > 65_535:
            raise EngineError(
                "rendition_too_large",
                f"resizing to {width}×{height} makes {width * height:,} pixels; the limit is {context.max_pixels:,}: "
                f"ask for a smaller size",
            )


def _kernel(name: str) -> int:
    from PIL import Image

    return int(Image.Resampling[name.upper()])
