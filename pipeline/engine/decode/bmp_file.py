"""BMP files: Pillow's decoders with the headers that `bmp_masks` reads."""

from __future__ import annotations

from typing import Any

from PIL import BmpImagePlugin, Image, ImageFile, ImagePalette

from . import bmp_masks
from .bmp_masks import Bitmap
from .bmp_runs import expand_runs

_GRAY = bytes(level for level in range(256) for _ in range(3))


class BmpFile(BmpImagePlugin.BmpImageFile):
    """An opened BMP. Pixels with masks are decoded as numbers first."""

    _bitmap_read: Bitmap | None = None
    _carrier = False

    def _open(self) -> None:
        """Read the headers and describe the pixels to Pillow."""
        assert self.fp is not None  # noqa: S101 - Pillow sets it
        self._bitmap_read = bitmap = bmp_masks.read_bitmap(self.fp)  # type: ignore[arg-type]
        self._size = (bitmap.width, bitmap.height)
        self._mode, raw_mode = self._modes(bitmap)
        direction = 1 if bitmap.top_down else -1
        args = (raw_mode, bitmap.row_bytes, direction)
        self.tile = [ImageFile._Tile("raw", (0, 0, *self._size), bitmap.offset, args)]

    def load(self) -> Any:  # noqa: ANN401 - Pillow does not export the class
        """Decode the pixels.

        Raises:
            OSError: the runs of a compressed bitmap end early, and truncated files are not allowed.
        """
        bitmap = self._bitmap_read
        if self.tile and bitmap and bitmap.compression in (bmp_masks.RLE8, bmp_masks.RLE4):
            self._load_runs(bitmap)
        return super().load()

    def _load_runs(self, bitmap: Bitmap) -> None:
        """Expand the runs of a compressed bitmap."""
        assert self.fp is not None  # noqa: S101 - Pillow sets it
        self.fp.seek(bitmap.offset)
        half = bitmap.compression == bmp_masks.RLE4
        pixels, complete = expand_runs(self.fp.read(), bitmap.width, bitmap.height, half=half)
        if not complete and not ImageFile.LOAD_TRUNCATED_IMAGES:
            raise OSError("image file is truncated")
        made = Image.frombytes(self.mode, self.size, pixels, "raw", self.mode, 0, -1)
        if self.palette:
            made.putpalette(self.palette)
        self.tile, self.im = [], made.im

    def _modes(self, bitmap: Bitmap) -> tuple[str, str]:
        """Return the mode and the raw mode of the pixels, and set the palette."""
        if bitmap.bits <= 8:
            if bitmap.palette == _GRAY:
                return "L", "L"
            if bitmap.bits == 1 and bitmap.palette == b"\0\0\0\xff\xff\xff":
                return "1", "1"
            self.palette = ImagePalette.raw("RGB", bitmap.palette)
            return "P", "P" if bitmap.bits == 8 else f"P;{bitmap.bits}"
        if bitmap.bits == 24:
            return "RGB", "BGR"
        common = {
            (16, (0xF800, 0x7E0, 0x1F, 0)): "BGR;16",
            (16, (0x7C00, 0x3E0, 0x1F, 0)): "BGR;15",
            (32, (0xFF0000, 0xFF00, 0xFF, 0)): "BGRX",
        }.get((bitmap.bits, bitmap.masks))
        if common:
            return "RGB", common
        self._carrier = True
        if bitmap.bits == 16:
            return "I;16", "I;16"
        return ("RGBA", "RGBA") if bmp_masks.is_byte_aligned(bitmap.masks) else ("I", "I;32")

    @property
    def meaning(self) -> str:
        """Mode of the pixels once they are loaded."""
        if self._carrier and self._bitmap_read:
            return "RGBA" if self._bitmap_read.masks[3] else "RGB"
        return self.mode

    def load_end(self) -> None:
        """Make the image from its masks."""
        if self._carrier and self._bitmap_read:
            self._carrier = False
            made = bmp_masks.from_masks(self, self._bitmap_read)
            self.im, self._mode = made.im, made.mode
