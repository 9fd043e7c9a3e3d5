"""GIF files: Pillow's reader with the canvas of browsers.

The canvas is transparent until a frame covers it, and disposal makes it transparent again. The background color of the
file has no effect, as in all browsers (GIF89a, 18 and 23). Pillow fills uncovered parts with the background color,
keeps the disposal of an earlier frame, and does not restore an empty canvas.
"""

from __future__ import annotations

from typing import cast

from PIL import GifImagePlugin, Image

Box = tuple[int, int, int, int]

TO_CLEAR, TO_PREVIOUS = 2, 3
"""Disposal of a frame before the next one is drawn (GIF89a, 23)."""


class GifFile(GifImagePlugin.GifImageFile):
    """An opened GIF. A loaded frame is the whole canvas at that time."""

    _under: Image.Image | None = None
    """Canvas under the selected frame; None while it is empty."""
    _box: Box = (0, 0, 0, 0)
    """Place of the selected frame on the canvas."""
    _decoded = 0
    """Pixels of all frames up to the selected one. A frame may be larger than the canvas."""

    def _seek(self, frame: int, update_image: bool = True) -> None:
        """Dispose of the loaded frame, and read the header of the next one."""
        if not update_image:
            super()._seek(frame, update_image)
            return
        size = self._size
        if frame == 0:
            self._under, self._decoded = None, 0
        else:
            self.load()
            self._dispose()
        self.disposal_method = 0  # Pillow sets other values only
        super()._seek(frame)
        if frame:
            self._size = size  # later frames are cut at the canvas
        self.dispose = None  # Pillow's own disposal
        self._box = self.dispose_extent or (0, 0, *self.size)
        left, top, right, bottom = self._box
        self._decoded += (right - left) * (bottom - top)
        Image._decompression_bomb_check((self._decoded, 1))
        tile = self.tile[0]
        bits, interlaced, _ = cast("tuple[int, bool, int]", tile.args)
        self.tile = [tile._replace(extents=(0, 0, right - left, bottom - top), args=(bits, interlaced, -1))]

    def _dispose(self) -> None:
        """Keep the canvas that the next frame is drawn on, by the disposal of the loaded frame."""
        if self.disposal_method == TO_PREVIOUS:
            return
        mode = "RGBA" if self.disposal_method == TO_CLEAR or _has_alpha(self) else "RGB"
        canvas = self if self.mode == mode else self.convert(mode)
        self._under = Image.new(mode, (0, 0))
        self._under.im, self._under._size = canvas.im, canvas.size
        self.info.pop("transparency", None)
        if self.disposal_method == TO_CLEAR:
            self._under.paste((0, 0, 0, 0), self._box)

    def load_prepare(self) -> None:
        """Make room for the pixels of the frame alone."""
        left, top, right, bottom = self._box
        self._mode, self.palette = ("P", self._frame_palette) if self._frame_palette else ("L", None)
        self.im = Image.new(self._mode, (right - left, bottom - top)).im
        if self.palette:
            self.im.putpalette("RGB", *self.palette.getdata())

    def load_end(self) -> None:
        """Draw the frame on the canvas."""
        if self._under is None and self._box == (0, 0, *self.size) and self.tell() == 0:
            return  # the frame is the canvas, in its own palette
        # Now this object is the frame alone, with the size of the canvas. The copy has its true size.
        frame, clear = self.copy(), self._frame_transparency
        frame.info = {} if clear is None else {"transparency": clear}
        if clear is None and self._box == (0, 0, *self.size):
            canvas = frame.convert("RGB")
        else:
            frame = frame.convert("RGB" if clear is None else "RGBA")
            canvas = Image.new("RGBA", self.size) if self._under is None else self._under
            if self.disposal_method == TO_PREVIOUS and self._under is not None:
                canvas = canvas.copy()
            canvas.paste(frame, self._box[:2], None if clear is None else frame)
        self.info.pop("transparency", None)
        self.im, self._mode, self.palette = canvas.im, canvas.mode, None


def _has_alpha(image: Image.Image) -> bool:
    """Return True when some pixels may be transparent."""
    return image.mode == "RGBA" or "transparency" in image.info
