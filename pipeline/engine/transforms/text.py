"""Text: write text onto the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from .. import pil
from ..base import PixelTransform, TransformContext
from ..constraints import Asset, Color, Help, Length, StringRule, rgba, to_pixels
from ..errors import EngineError
from ..geometry import MARGIN_HELP, Gravity, anchor, margin_pixels, place
from .assets import asset_file
from .text_layout import missing_letters, normalize_text, wrap_lines

MAX_LETTER_PIXELS = 2_000
"""Largest letter height in pixels: FreeType's memory grows with its square."""


@dataclass(frozen=True)
class TextTransform(
    PixelTransform,
    name="text",
    assets=("font",),
    example={"text": "Harbour, early morning", "size": "12%", "gravity": "bottom-left"},
    shorthand="text",
):
    """Write text onto the image, wrapped to its width."""

    text: Annotated[Annotated[str, StringRule("a text has at most 500 characters", max_length=500)], Help("the text")]
    size: Annotated[Length, Help("letter height; pixels, or percent of the image's height")] = "6%"
    color: Annotated[Color, Help("color of the letters")] = "white"
    gravity: Annotated[Gravity, Help("position of the text and alignment of its lines")] = "bottom"
    margin: Annotated[Length, Help(f"distance from the edges; pixels, or percent of the shorter side{MARGIN_HELP}")] = (
        "4%"
    )
    wrap: Annotated[
        bool,
        Help(
            "true: break lines between words, and inside words longer than a line; cut off text that is too high at "
            "the bottom. false: keep the lines of the text"
        ),
    ] = True
    shadow: Annotated[Color, Help("color of a soft shadow that keeps the text readable")] = "#000000a0"
    font: Annotated[
        Asset | None,
        Help(
            "a TrueType or OpenType font in the assets container; default: Pillow's font, which has English letters "
            "only. A letter that the font lacks is an error"
        ),
    ] = None

    def transform_pixels(self, image: pil.Image.Image, context: TransformContext) -> pil.Image.Image:
        """Draw shadow and text."""
        high = min(max(4, to_pixels(self.size, image.height)), MAX_LETTER_PIXELS)
        font, text = self._font(context, high), normalize_text(self.text)
        context.decide_once(("letters", self.font, text), lambda: self._check_letters(font, text))
        margin = margin_pixels(self.margin, image.size)
        room = (max(1, image.width - 2 * margin), max(1, image.height - 2 * margin))
        pen = pil.ImageDraw.Draw(pil.Image.new("L", (1, 1)))
        lines = wrap_lines(text, room[0], lambda line: pen.textlength(line, font)) if self.wrap else text
        mask, gap = self._mask(lines, font), max(1, high // 16)
        left, top = place(mask.size, room, anchor(self.gravity))
        # Text that is too high starts at the margin, so that the end is cut off and not the start.
        corner = (left + margin, max(top, 0) + margin)
        image = _stamp(image, _blurred(mask, gap), (corner[0] - gap, corner[1] - gap), self.shadow)
        return _stamp(image, mask, corner, self.color)

    def _check_letters(self, font: pil.ImageFont.FreeTypeFont, text: str) -> None:
        """Check that the font has all letters."""
        lacking = missing_letters(font, text)
        if lacking:
            named = ", ".join(repr(letter) for letter in lacking[:5])
            whose = f"the font {self.font!r}" if self.font else "Pillow's font"
            advice = f"use {'another' if self.font else 'a'} font from the assets container that has them"
            raise EngineError("asset_unusable", f"{whose} lacks the letters {named}: {advice}")

    def _mask(self, lines: str, font: pil.ImageFont.FreeTypeFont) -> pil.Image.Image:
        """Draw the text in white on black, in the smallest box."""
        align = "left" if "left" in self.gravity else "right" if "right" in self.gravity else "center"
        pen = pil.ImageDraw.Draw(pil.Image.new("L", (1, 1)))
        left, top, right, bottom = pen.multiline_textbbox((0, 0), lines, font, align=align)
        size = (max(1, round(right - left)), max(1, round(bottom - top)))
        if size[0] * size[1] > 50_000_000:
            raise EngineError("rendition_too_large", f"the text would take {size[0]}×{size[1]} pixels: make it smaller")
        mask = pil.Image.new("L", size)
        pil.ImageDraw.Draw(mask).multiline_text((-left, -top), lines, 255, font, align=align)
        return mask

    def _font(self, context: TransformContext, high: int) -> pil.ImageFont.FreeTypeFont:
        """Load the font at a height in pixels."""
        if not pil.features.check("freetype2"):
            raise EngineError("unsupported_here", "Pillow in this session cannot write text: it lacks FreeType")
        if self.font is None:
            return cast("pil.ImageFont.FreeTypeFont", pil.ImageFont.load_default(high))
        try:
            return pil.ImageFont.truetype(str(asset_file(context, self.font)), high)
        except OSError as error:
            raise EngineError(
                "asset_unusable", f"the asset {self.font!r} cannot be read as a font ({error}): use a TTF or OTF file"
            ) from error


def _blurred(mask: pil.Image.Image, radius: int) -> pil.Image.Image:
    """Blur the mask, on a canvas with space for the blur."""
    return pil.ImageOps.expand(mask, radius).filter(pil.ImageFilter.GaussianBlur(radius / 2))


def _stamp(image: pil.Image.Image, mask: pil.Image.Image, corner: tuple[int, int], color: str) -> pil.Image.Image:
    """Composite a color onto the image where the mask is white."""
    red, green, blue, alpha = rgba(color)
    faded = mask.point([value * alpha // 255 for value in range(256)])
    if image.mode != "RGBA":
        image = image.convert("RGB")
        image.paste((red, green, blue), (*corner, corner[0] + mask.width, corner[1] + mask.height), faded)
        return image
    sheet = pil.Image.new("RGBA", image.size, (red, green, blue, 0))
    whole = pil.Image.new("L", image.size)
    whole.paste(faded, corner)
    sheet.putalpha(whole)
    return pil.Image.alpha_composite(image, sheet)
