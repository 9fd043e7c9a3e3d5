"""Animated PNG: each frame is read alone, and drawn on the canvas of browsers (PNG specification, 3rd edition, 4.9).

The canvas starts transparent, and disposal makes it transparent again. Pillow fills opaque animations with black,
mixes alpha wrongly where frames blend, and restores a wrong canvas after some disposals.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from PIL import Image, PngImagePlugin

from ..containers.file_view import view_of
from ..containers.png import SIGNATURE, build_chunk, walk_chunks
from ..errors import EngineError
from ..pixel_modes import scale_clear_color, to_working

TO_CLEAR, TO_PREVIOUS = 1, 2
"""Disposal of a frame before the next one is drawn."""

_SHARED_CHUNKS = (b"PLTE", b"tRNS")
"""Chunks that every frame needs to be decoded."""


@dataclass
class _Frame:
    """A frame: its box on the canvas, duration in ms, disposal, blending, and the places of its compressed pixels."""

    box: tuple[int, int, int, int]
    duration: float = 0.0
    disposal: int = 0
    blended: bool = False
    parts: list[tuple[int, int]] = field(default_factory=list)


class ApngFile(PngImagePlugin.PngImageFile):
    """An opened animated PNG. A loaded frame is the whole canvas at that time."""

    _frames: list[_Frame]
    _selected = 0
    _loaded = -1
    """Number of the frame that the pixels show; -1 for none."""
    _under: Image.Image | None = None
    """Canvas under the next frame; None while it is empty."""

    def __init__(self, stream: BinaryIO) -> None:
        """Open an animated PNG whose header Pillow accepts."""
        super().__init__(stream)
        self._canvas_size = self.size
        self._file = stream
        self._header, self._shared = b"", b""
        # Frames beyond the declared number are not shown.
        self._frames = self._read_frames(stream)[: self.n_frames]
        self.n_frames = len(self._frames)
        self.seek(0)

    def _read_frames(self, stream: BinaryIO) -> list[_Frame]:
        """Read the places of all frames; first that of the image for viewers without animation, if it is no frame."""
        found: list[_Frame] = []
        for chunk in walk_chunks(view_of(stream)):
            if chunk.name == b"fcTL":
                found.append(self._read_control(_read(stream, chunk.offset, chunk.length)))
            elif chunk.name in (b"IDAT", b"fdAT"):
                if not found:
                    found.append(_Frame((0, 0, *self._canvas_size)))
                skipped = 4 if chunk.name == b"fdAT" else 0
                found[-1].parts.append((chunk.offset + skipped, chunk.length - skipped))
            elif chunk.name == b"IHDR":
                self._header = _read(stream, chunk.offset, chunk.length)
            elif chunk.name in _SHARED_CHUNKS:
                self._shared += build_chunk(chunk.name, _read(stream, chunk.offset, chunk.length))
        return [frame for frame in found if frame.parts]

    def _read_control(self, body: bytes) -> _Frame:
        """Read a frame control chunk."""
        if len(body) < 26:
            raise _damaged("a frame has no size")
        width, height, left, top, part, whole, disposal, blending = struct.unpack(">4I2H2B", body[4:26])
        box = (left, top, left + width, top + height)
        if not (width and height) or box[2] > self._canvas_size[0] or box[3] > self._canvas_size[1]:
            raise _damaged("a frame is outside the image")
        return _Frame(box, 1000 * part / (whole or 100), disposal, bool(blending))

    def seek(self, frame: int) -> None:
        """Select a frame. Its pixels are decoded by `load`, with those of the frames before it."""
        if not 0 <= frame < len(self._frames):
            raise EOFError("no more images in APNG file")
        self._selected = frame
        if frame:
            self.info.pop("default_image", None)
        self.info["duration"] = self._frames[frame].duration

    def tell(self) -> int:
        """Return the number of the selected frame."""
        return self._selected

    def load(self) -> Any:  # noqa: ANN401 - Pillow does not export the class
        """Draw all frames up to the selected one.

        Raises:
            EngineError: a frame is damaged.
        """
        if not self.__dict__.get("_frames"):
            return super().load()
        if self._selected < self._loaded:
            self._loaded, self._under = -1, None
        while self._loaded < self._selected:
            self._loaded += 1
            canvas = self._draw(self._frames[self._loaded])
            self.im, self._mode, self._size, self.palette, self.tile = canvas.im, canvas.mode, canvas.size, None, []
            self.info.pop("transparency", None)
        return Image.Image.load(self)

    def _draw(self, frame: _Frame) -> Image.Image:
        """Draw a frame on the canvas, and keep the canvas for the next one."""
        image = self._decode(frame)
        whole = frame.box == (0, 0, *self._canvas_size)
        if whole and (self._under is None or not frame.blended or image.mode != "RGBA"):
            canvas = image
        elif self._under is not None and image.mode == self._under.mode != "RGBA":
            canvas = self._under.copy()
            canvas.paste(image, frame.box)
        else:
            canvas = Image.new("RGBA", self._canvas_size) if self._under is None else self._under.convert("RGBA")
            drawn = image.convert("RGBA")
            if frame.blended:
                canvas.alpha_composite(drawn, frame.box[:2])
            else:
                canvas.paste(drawn, frame.box)
        is_fallback = self.default_image and self._loaded == 0
        if frame.disposal == TO_CLEAR and not whole:
            self._under = canvas.convert("RGBA")
            self._under.paste((0, 0, 0, 0), frame.box)
        elif frame.disposal == TO_CLEAR or is_fallback:
            self._under = None
        elif frame.disposal != TO_PREVIOUS:
            self._under = canvas
        return canvas

    def _decode(self, frame: _Frame) -> Image.Image:
        """Decode a frame as a PNG of its own."""
        left, top, right, bottom = frame.box
        header = struct.pack(">2I", right - left, bottom - top) + self._header[8:]
        data = b"".join(_read(self._file, *part) for part in frame.parts)
        chunks = (build_chunk(b"IHDR", header), self._shared, build_chunk(b"IDAT", data), build_chunk(b"IEND", b""))
        image = Image.open(io.BytesIO(SIGNATURE + b"".join(chunks)), formats=["PNG"])
        scale_clear_color(image)
        return to_working(image)


def _read(stream: BinaryIO, offset: int, length: int) -> bytes:
    """Read a part of the file."""
    stream.seek(offset)
    return stream.read(length)


def _damaged(reason: str) -> EngineError:
    """Build the error for an invalid animation."""
    return EngineError("damaged_image", f"the source is damaged (PNG: {reason}): upload it again, or repair it")
