"""Layers: composite other images onto the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from .. import pil
from ..base import PixelTransform, TransformContext
from ..constraints import Asset, Fraction, Help, Length, to_pixels
from ..geometry import MARGIN_HELP, Gravity, anchor, margin_pixels, place
from .assets import load_asset_image
from .region import Region, region_box


@dataclass(frozen=True)
class Watermark(
    PixelTransform,
    name="watermark",
    assets=("image",),
    example={"image": "logo.png", "gravity": "bottom-right", "width": "25%", "opacity": 0.8},
):
    """Put a small image (a logo) onto the image, once or tiled."""

    image: Annotated[Asset, Help("name of an image in the assets container")]
    gravity: Annotated[Gravity, Help("position of the watermark")] = "bottom-right"
    margin: Annotated[
        Length, Help(f"distance from the edges and between tiles; pixels, or percent of the shorter side{MARGIN_HELP}")
    ] = "3%"
    width: Annotated[Length, Help("width of the watermark; pixels, or percent of the image's width")] = "20%"
    opacity: Annotated[Fraction, Help("0 is invisible, 1 keeps its own opacity")] = 0.7
    tile: Annotated[bool, Help("true: repeat it over the whole image")] = False

    def transform_pixels(self, image: pil.Image.Image, context: TransformContext) -> pil.Image.Image:
        """Composite the watermark onto the image."""
        margin = margin_pixels(self.margin, image.size)
        mark = _with_opacity(self._sized(load_asset_image(context, self.image), image.size, margin), self.opacity)
        room = (image.width - 2 * margin, image.height - 2 * margin)
        left, top = place(mark.size, room, anchor(self.gravity))
        if not self.tile:
            return _composite(image, mark, [(left + margin, top + margin)])
        return _composite(image, _tiled(mark, image.size, max(1, margin)), [(0, 0)])

    def _sized(self, mark: pil.Image.Image, size: tuple[int, int], margin: int) -> pil.Image.Image:
        """Resize the watermark to its width, at most to the space between the margins."""
        wide = min(max(1, to_pixels(self.width, size[0])), max(1, size[0] - 2 * margin))
        factor = min(wide / mark.width, max(1, size[1] - 2 * margin) / mark.height)
        target = (max(1, round(mark.width * factor)), max(1, round(mark.height * factor)))
        return mark.resize(target, pil.Image.Resampling.LANCZOS)


@dataclass(frozen=True)
class Overlay(
    PixelTransform,
    name="overlay",
    assets=("image",),
    example={"image": "logo.png", "region": ["0%", "0%", "50%", "50%"], "blend": "multiply"},
):
    """Put an image over a region, stretched to fill it: frames, badges, gradients."""

    image: Annotated[Asset, Help("name of an image in the assets container")]
    region: Annotated[Region | None, Help("left, top, right, bottom; default: the whole image")] = None
    opacity: Annotated[Fraction, Help("0 is invisible, 1 keeps its own opacity")] = 1.0
    blend: Annotated[Literal["normal", "multiply", "screen"], Help("multiply darkens, screen lightens")] = "normal"

    def transform_pixels(self, image: pil.Image.Image, context: TransformContext) -> pil.Image.Image:
        """Composite the other image onto its region."""
        left, top, right, bottom = region_box(self.region, image.size)
        layer = load_asset_image(context, self.image).resize((right - left, bottom - top), pil.Image.Resampling.LANCZOS)
        if self.blend != "normal":
            part, colors = image.crop((left, top, right, bottom)), layer.convert("RGB")
            mix = pil.ImageChops.multiply if self.blend == "multiply" else pil.ImageChops.screen
            mixed = mix(part.convert("RGB"), colors)
            if part.mode == "RGBA":
                # A transparent backdrop does not blend (W3C Compositing, 9.1).
                mixed = pil.Image.composite(mixed, colors, part.getchannel("A"))
            mixed.putalpha(layer.getchannel("A"))
            layer = mixed
        return _composite(image, _with_opacity(layer, self.opacity), [(left, top)])


def _tiled(mark: pil.Image.Image, size: tuple[int, int], gap: int) -> pil.Image.Image:
    """Tile the mark over a layer of `size`: build one row, then repeat it."""
    row, layer = pil.Image.new("RGBA", (size[0], min(mark.height, size[1]))), pil.Image.new("RGBA", size)
    for left in range(0, size[0], mark.width + gap):
        row.paste(mark, (left, 0))
    for top in range(0, size[1], mark.height + gap):
        layer.paste(row, (0, top))
    return layer


def _with_opacity(layer: pil.Image.Image, opacity: float) -> pil.Image.Image:
    """Multiply the alpha of a layer by `opacity`, in place."""
    layer.putalpha(layer.getchannel("A").point([round(value * opacity) for value in range(256)]))
    return layer


def _composite(image: pil.Image.Image, layer: pil.Image.Image, corners: list[tuple[int, int]]) -> pil.Image.Image:
    """Composite `layer` onto `image` at each corner. Parts beyond the edges are cut off."""
    if image.mode != "RGBA":
        image = image.convert("RGB")
        for corner in corners:
            image.paste(layer.convert("RGB"), corner, layer.getchannel("A"))
        return image
    sheet = pil.Image.new("RGBA", image.size)
    for corner in corners:
        sheet.paste(layer, corner)
    return pil.Image.alpha_composite(image, sheet)
