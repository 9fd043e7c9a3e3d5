"""The contact sheet: pictures in rows, each with two lines under it, as one PNG. It needs Pillow."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageCms, ImageDraw, ImageFont, ImageOps

from pipeline.engine.pixel_modes import to_working
from pipeline.telemetry import printable

CELL = (300, 220)
GAP = 16
CAPTION = 40
MOST_ROWS = 40
# No font has a letter for what Unicode will never give one.
NO_LETTER = "\uffff"
PAPER, INK, FAINT, FRAME = "#ffffff", "#202020", "#707070", "#e4e4e4"


@dataclass(frozen=True)
class Cell:
    """A picture and the two lines under it."""

    path: Path
    title: str
    detail: str


def draw(rows: list[list[Cell]], target: Path) -> None:
    """Write the sheet, of the first rows when there are very many."""
    rows = rows[:MOST_ROWS]
    columns = max(len(row) for row in rows)
    width, height = CELL[0] + GAP, CELL[1] + CAPTION + GAP
    sheet = Image.new("RGB", (columns * width + GAP, len(rows) * height + GAP), PAPER)
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            _paste(sheet, cell, (GAP + x * width, GAP + y * height))
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target)


def _paste(sheet: Image.Image, cell: Cell, corner: tuple[int, int]) -> None:
    canvas = ImageDraw.Draw(sheet)
    left, top = corner
    canvas.rectangle((left, top, left + CELL[0] - 1, top + CELL[1] - 1), fill=FRAME)
    picture = _thumbnail(cell.path)
    if picture:
        offset = (left + (CELL[0] - picture.width) // 2, top + (CELL[1] - picture.height) // 2)
        sheet.paste(picture, offset, picture.getchannel("A"))
    else:
        canvas.text((left + 12, top + 12), "cannot be shown", FAINT, _font(14))
    title = _fitting(_drawable(cell.title, _font(15)), _font(15))
    canvas.text((left, top + CELL[1] + 4), title, INK, _font(15))
    canvas.text((left, top + CELL[1] + 23), cell.detail, FAINT, _font(12))


def _thumbnail(path: Path) -> Image.Image | None:
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image.draft("RGB", (CELL[0] * 2, CELL[1] * 2))
            upright = _in_srgb(ImageOps.exif_transpose(image))
            upright.thumbnail(CELL)
            return upright
    except Exception:  # noqa: BLE001 - a file that may be anything: the sheet says that it cannot be shown
        return None


def _in_srgb(image: Image.Image) -> Image.Image:
    """As it is meant to look: renditions are converted to sRGB, and beside them the source would look pale or wrong."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "CMYK", "L"):
        return to_working(image).convert("RGBA")
    source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    return (converted or image).convert("RGBA")


def _drawable(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text on one line, what the font has no letter for as escapes: Pillow's own knows ASCII and little else."""
    return "".join(char if _has(font, char) else ascii(char)[1:-1] for char in printable(text))


def _has(font: ImageFont.FreeTypeFont | ImageFont.ImageFont, char: str) -> bool:
    """Whether the font draws anything else for a letter than the box that stands for all that it lacks."""
    missing = font.getmask(NO_LETTER)
    drawn = font.getmask(char)
    return char.isascii() or (drawn.size, bytes(drawn)) != (missing.size, bytes(missing))


def _font(points: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(points)


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, or as much of its end as fits under a picture."""
    shown = text
    while font.getlength(shown) > CELL[0] and len(text) > 1:
        text = text[1:]
        shown = f"...{text}"
    return shown


def size(count: int) -> str:
    """Bytes, as people read them."""
    if count < 1000:
        return f"{count} bytes"
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
