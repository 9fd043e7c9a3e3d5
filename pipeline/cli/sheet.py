"""Contact sheet: images in rows, each with two caption lines, as one PNG. Needs Pillow."""

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageCms, ImageDraw, ImageFont, ImageOps

from pipeline.engine.pixel_modes import to_working
from pipeline.telemetry import printable

CELL = (300, 220)
GAP = 16
CAPTION_HEIGHT = 40
MAX_ROWS = 40
BACKGROUND_COLOR, TEXT_COLOR, DETAIL_COLOR, FRAME_COLOR = "#ffffff", "#202020", "#707070", "#e4e4e4"


@dataclass(frozen=True)
class Cell:
    """An image file and its two caption lines."""

    path: Path
    title: str
    detail: str


def draw(rows: list[list[Cell]], target: Path) -> None:
    """Write the contact sheet of the first 40 rows to `target`."""
    rows = rows[:MAX_ROWS]
    columns = max(len(row) for row in rows)
    width, height = CELL[0] + GAP, CELL[1] + CAPTION_HEIGHT + GAP
    sheet = Image.new("RGB", (columns * width + GAP, len(rows) * height + GAP), BACKGROUND_COLOR)
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            _draw_cell(sheet, cell, GAP + x * width, GAP + y * height)
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target)


def _draw_cell(sheet: Image.Image, cell: Cell, left: int, top: int) -> None:
    canvas = ImageDraw.Draw(sheet)
    canvas.rectangle((left, top, left + CELL[0] - 1, top + CELL[1] - 1), fill=FRAME_COLOR)
    thumbnail = _thumbnail(cell.path)
    if thumbnail:
        offset = (left + (CELL[0] - thumbnail.width) // 2, top + (CELL[1] - thumbnail.height) // 2)
        sheet.paste(thumbnail, offset, thumbnail.getchannel("A"))
    else:
        canvas.text((left + 12, top + 12), "cannot be shown", DETAIL_COLOR, ImageFont.load_default(14))
    font = ImageFont.load_default(15)
    canvas.text((left, top + CELL[1] + 4), _fit(cell.title, font), TEXT_COLOR, font)
    canvas.text((left, top + CELL[1] + 23), cell.detail, DETAIL_COLOR, ImageFont.load_default(12))


def _thumbnail(path: Path) -> Image.Image | None:
    """Return the image in the size of a cell, with transparency; None if it cannot be shown."""
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image.draft("RGB", (CELL[0] * 2, CELL[1] * 2))
            upright = _to_srgb(ImageOps.exif_transpose(image))
            upright.thumbnail(CELL)
            return upright
    except Exception:  # noqa: BLE001 - the file may be anything; its cell says so
        return None


def _to_srgb(image: Image.Image) -> Image.Image:
    """Convert to sRGB, as renditions are, so that source and renditions look alike."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "CMYK", "L"):
        return to_working(image).convert("RGBA")
    source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    return (converted or image).convert("RGBA")


def _fit(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return the text on one line in ASCII, or the longest end of it that fits under a cell.

    Other characters are escaped: Pillow's own font has few other letters.
    """
    shown = text = printable(text).encode("ascii", "backslashreplace").decode()
    while font.getlength(shown) > CELL[0] and len(text) > 1:
        text = text[1:]
        shown = f"...{text}"
    return shown


def size(count: int) -> str:
    """Format a number of bytes: `900 bytes`, `12 kB`, `3.4 MB`."""
    if count < 1000:
        return f"{count} bytes"
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
