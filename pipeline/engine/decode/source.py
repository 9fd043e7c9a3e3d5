"""The source file in a session: detect its format, check it against the limits, then decode it."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .. import pil
from ..errors import EngineError
from ..image_view import ImageView, Size
from ..information import Information
from ..pixel_modes import scale_clear_color
from ..protocol import Limits, SourceReport
from ..timing import MAX_FRAME_MILLISECONDS, Timing
from ..transforms.auto_orient import covers, swaps_sides, upright
from ..transforms.to_srgb import ToSrgb
from . import frames, jpeg_rows, sniff
from .exif import exif_of, exif_orientation, late_exif
from .guard import allow_large_metadata, damaged, map_decoder_errors, pixel_limit, too_many_pixels
from .integrity import feed_at_once, inspect
from .png_rows import lacks_rows
from .readers import open_apng, open_own
from .source_colors import SourceColors, of_boxes, of_png
from .variants import name_variant, refuse_by_first_bytes, refuse_camera_raw

if TYPE_CHECKING:
    from ..color.samples import Samples

OPTIONAL_FORMATS = {"WEBP": "webp", "AVIF": "avif"}
"""Formats that a build of Pillow may lack, with Pillow's names of the features."""

ANIMATED_FORMATS = ("GIF", "WEBP", "PNG", "AVIF")
"""Formats whose frames are an animation. The pages of a TIFF are not."""


MAX_LOOPS = 65_534

DRAFT_MARGINS = {8: 1.7, 4: 1.35, 2: 1.2}
"""Decode a JPEG at 1/8, 1/4 or 1/2 when at least this many times the needed pixels remain.

These factors were measured: with them, renditions of nine photos and textures keep an SSIM of 0.98 or more against full
decoding. A smaller scale needs a larger factor, because a decoder at 1/8 knows only the mean of 8×8 pixels.
"""


@dataclass
class Source:
    """An opened source with decoded header and undecoded pixels. `size` is in pixels after orientation.

    `visible_box` is the part of the stored pixels to show, where the decoder does not cut it out. `max_pixels` is the
    limit over all frames. `dropped` names information of the source that no rendition can carry, for the reports
    (`encode.dropped`). `information` is what the file carries besides its pixels. `damage` describes damage that Pillow
    may not notice, empty when there is none.
    """

    stream: BinaryIO
    image: pil.Image.Image
    format: str
    mode: str
    frames: int
    index: int
    size: Size
    orientation: int
    profile: bytes | None
    max_pixels: int
    colors: SourceColors = field(default_factory=SourceColors)
    visible_box: tuple[int, int, int, int] | None = None
    color_conversion: ToSrgb = field(default_factory=ToSrgb)
    patched: bool = False
    loop: int | None = None
    shrink_factor: int = 1
    durations: list[int] = field(default_factory=list)
    dropped: set[str] = field(default_factory=set)
    information: Information = field(default_factory=Information)
    damage: str = ""

    @property
    def animated(self) -> bool:
        """True when the frames are an animation."""
        return self.frames > 1 and self.format in ANIMATED_FORMATS

    @property
    def timing(self) -> Timing:
        """Timing of the decoded frames."""
        # A GIF without a loop count is played once. The other formats count from 1, and 0 is endless.
        if self.format == "GIF":
            return Timing(self.durations, 1 if self.loop is None else self.loop + 1 if self.loop else 0)
        return Timing(self.durations, self.loop or 0)

    def read_file(self) -> bytes:
        """Read the whole file."""
        self.stream.seek(0)
        return self.stream.read()

    def in_srgb(self, frames: Sequence[pil.Image.Image]) -> Sequence[pil.Image.Image]:
        """Convert frames to sRGB, unless they are in sRGB already."""
        return [self.color_conversion.convert(frame, self.profile)[0] for frame in frames] if self.profile else frames

    def limit_rows(self, rows: int) -> None:
        """Decode only the first `rows` rows, if the file allows that."""
        fit = self.image.format == "JPEG" and self.orientation == 1 and rows < self.size[1]
        if not fit or self.stream.seek(0, os.SEEK_END) > jpeg_rows.MAX_FILE_BYTES:
            return
        short = jpeg_rows.truncate_rows(self.read_file(), rows)
        if short is not None:
            with map_decoder_errors(self.format):
                self.image = _open(io.BytesIO(short), self.format)

    def read_declarations(self) -> None:
        """Read what Pillow does not expose: a color space by numbers, and the geometry in the boxes of AVIF."""
        if self.format == "PNG":
            self.colors = of_png(self.stream, self.profile)
        elif self.format in {"AVIF", "HEIF"}:
            from .iso_boxes import read_properties

            properties = read_properties(self.stream)
            self.colors = of_boxes(properties, self.profile)
            if self.format == "AVIF":  # the decoder of HEIF crops and rotates itself
                self.visible_box = properties.visible_box(self.image.size)
                left, top, right, bottom = self.visible_box or (0, 0, *self.image.size)
                self.orientation = properties.orientation
                width, height = right - left, bottom - top
                self.size = (height, width) if swaps_sides(self.orientation) else (width, height)
        else:
            self.colors = SourceColors((self.profile,) if self.profile else ())
        self.profile = self.colors.profile

    def report(self) -> SourceReport:
        """Build the report on the source for the host."""
        width, height = self.size
        return SourceReport(format=self.format, mode=self.mode, width=width, height=height, frames=self.frames)

    def decode_frames(self, min_scale: float, colors: ToSrgb, count: int, *, patch: bool) -> Iterator[ImageView]:
        """Decode `count` frames from the selected one on, at `min_scale` or more, and convert and orient them.

        A JPEG can be decoded directly at 1/2, 1/4 or 1/8 of its size, at a fraction of the cost. With `patch`, the
        missing part of a truncated file becomes gray.

        Raises:
            EngineError: the source is damaged or over a limit.
        """
        self.color_conversion = replace(colors, keep_profile=False)
        self.dropped |= {"hdr"} if self.colors.find_hdr() else set()
        visible, total = self.visible_box or (0, 0, *self.image.size), 0
        for number in range(self.index, self.index + count):
            with map_decoder_errors(self.format):
                if number:
                    self.image.seek(number)
            # A frame of a GIF may be larger than the canvas, which then grows.
            total += self.image.width * self.image.height
            if total > self.max_pixels:
                raise too_many_pixels(total, self.max_pixels)
            self._load(min_scale, patch=patch)
            self._record_duration(self.image.info)
            # Pillow draws the next frame of an animation over this one, so it must stay unchanged.
            image = self.image.crop(visible) if count > 1 or self.visible_box else self.image
            deep = self._read_deep() if count == 1 else None
            converted, self.profile = self.colors.convert(image, colors, deep)
            covered = covers(image.size, self.shrink_factor, self.size, self.orientation)
            yield ImageView.from_image(upright(converted, self.orientation), self.size, covered)

    def _read_deep(self) -> Samples | None:
        """Read the samples of more than 8 bits, where the colors need them."""
        if self.patched or self.frames > 1:
            return None
        with map_decoder_errors(self.format):
            return self.colors.read_deep(self.stream, self.image)

    def _record_duration(self, info: Mapping[Any, Any]) -> None:
        """Record the frame's duration and the loop count, limited to the range of GIF (16 bits of 1/100 s)."""
        duration, loop = info.get("duration"), info.get("loop")
        whole = round(duration) if isinstance(duration, (int, float)) and duration else 100
        self.durations.append(min(max(whole, 10), MAX_FRAME_MILLISECONDS))
        self.loop = min(max(loop, 0), MAX_LOOPS) if isinstance(loop, int) else None

    def _load(self, min_scale: float, *, patch: bool) -> None:
        """Decode the current frame."""
        self._draft(min_scale)
        try:
            if self.damage:
                raise damaged(self.format, self.damage)
            with name_variant(self.stream, self.format, opened=True), map_decoder_errors(self.format):
                self.image.load()
            if not self.durations and lacks_rows(self.image, self.stream, self.frames):
                raise damaged(self.format, "its pixel data end early")
        except EngineError as error:
            if error.kind != "damaged_image" or not patch or self.frames > 1:
                raise
            self._load_patched(min_scale)

    def _draft(self, min_scale: float) -> None:
        """Let Pillow decode a JPEG at the smallest scale that `min_scale` allows."""
        part = next((part for part, margin in DRAFT_MARGINS.items() if min_scale * margin * part <= 1), 1)
        if self.image.format != "JPEG" or part == 1:
            return
        width, height = self.image.size
        drafted = self.image.draft(None, (max(1, width // part), max(1, height // part)))
        if drafted is not None:
            self.shrink_factor = round(width / drafted[1][2])

    def _load_patched(self, min_scale: float) -> None:
        """Reopen and decode a damaged source without the strict checks, and mark it as patched."""
        with map_decoder_errors(self.format):
            self.image = _open(self.stream, self.format)
            # Read the EXIF block now, for renditions that keep it: converting the pixels drops it.
            _tagged_orientation(self.image)
            pil.ImageFile.LOAD_TRUNCATED_IMAGES = True
            try:
                # Seeking decodes the preceding frames.
                self.image.seek(self.index)
                self._draft(min_scale)
                self.image.load()
            finally:
                pil.ImageFile.LOAD_TRUNCATED_IMAGES = False
        self.patched = True


@contextmanager
def open_source(file: Path, formats: list[str], limits: Limits, index: int = 0) -> Iterator[Source]:
    """Open the source in `file` and check its format and size. `index` selects a frame or page.

    The engine keeps the file open itself, because Pillow does not close it when decoding fails.

    Raises:
        EngineError: the format is not one of `formats`, the source is damaged, or it is over a limit.
    """
    try:
        stream = file.open("rb")
    except FileNotFoundError:
        raise EngineError("source_missing", "the source file is missing in the session") from None
    with stream:
        source = _open_checked(stream, formats, limits, index)
        source.read_declarations()
        yield source


def _open_checked(stream: BinaryIO, formats: list[str], limits: Limits, index: int) -> Source:
    """Detect the format, open the source and check it against the limits."""
    found = _detect_allowed_format(stream.read(sniff.HEAD_BYTES), formats)
    refuse_camera_raw(stream, found, index)
    inspected = inspect(stream, found)
    stream = inspected.stream
    # Pillow's own limit applies during opening: for a GIF it allocates the first frame at once.
    with name_variant(stream, found, opened=False):
        with pixel_limit(limits), map_decoder_errors(found):
            image = _open(stream, found)
        _check_pixels(image.size, 1, limits)
    with map_decoder_errors(found):
        count = frames.count_frames(image, stream, limits["max_frames"])
    if count > limits["max_frames"]:
        raise EngineError("too_many_frames", f"the source has more frames than the limit of {limits['max_frames']:,}")
    _check_pixels(image.size, count, limits)
    # The first image of a PNG may be a fallback for programs without animation; it is not a frame.
    hidden = int(count > 1 and bool(getattr(image, "default_image", False)))
    index, count = index + hidden, count - hidden
    if index - hidden >= count:
        raise EngineError(
            "frame_missing",
            f"the recipe selects frame {index - hidden}, counted from 0; the source has {count} frames",
        )
    if index:
        with pixel_limit(limits), map_decoder_errors(found):
            image.seek(index)
        _check_pixels(image.size, count, limits)
    orientation, swapped = _orientation(image)
    size = (image.height, image.width) if swapped else image.size
    profile = image.info.get("icc_profile") or None
    mode = getattr(image, "meaning", image.mode)
    return Source(
        *(stream, image, found, mode, count, index, size, orientation, profile, limits["max_pixels"]),
        dropped=inspected.dropped,
        damage=inspected.damage,
    )


def _open(stream: BinaryIO, found: str) -> pil.Image.Image:
    """Read the header of an image, and the EXIF block wherever it is. Decode no pixels."""
    if found == "JPEG":
        # `open` also reads the index of further images, and refuses the file when the index is wrong.
        stream.seek(0)
        jpeg = pil.JpegImagePlugin.JpegImageFile(stream)
        feed_at_once(jpeg, stream)
        return jpeg
    own = open_own(stream, found)
    if own is not None:
        return own
    if found != "PNG":
        return pil.Image.open(stream, formats=[found])
    allow_large_metadata()
    image: pil.Image.Image = pil.Image.open(stream, formats=[found])
    if getattr(image, "is_animated", False):
        image = open_apng(stream)
    scale_clear_color(image)
    if "exif" not in image.info and (exif := late_exif(stream)):
        image.info["exif"] = exif
    return image


def _detect_allowed_format(head: bytes, formats: list[str]) -> str:
    """Detect the format by the first bytes, and check that it is allowed and that Pillow can read it."""
    if not head:
        raise EngineError("empty_source", "the source has 0 bytes: upload the image again")
    refuse_by_first_bytes(head)
    found, allowed = sniff.detect_format(head), ", ".join(formats)
    if found is None:
        raise EngineError("not_an_image", f"the source is not an image in a known format; allowed formats: {allowed}")
    if found not in formats:
        raise EngineError("format_not_allowed", f"the source is {found}; allowed formats: {allowed}")
    require_codec(found, "read")
    return found


def is_supported(name: str) -> bool:
    """Return True when Pillow in this session supports the format `name`."""
    return (
        _register_heif()
        if name == "HEIF"
        else name not in OPTIONAL_FORMATS or bool(pil.features.check(OPTIONAL_FORMATS[name]))
    )


def require_codec(name: str, operation: str) -> None:
    """Check that Pillow in this session can read or write the format `name`.

    Raises:
        EngineError: it cannot; `operation` ("read" or "write") goes into the message.
    """
    if not is_supported(name):
        advice = "use another format, or a session image that supports it"
        version = pil.features.version("pil")
        raise EngineError("unsupported_here", f"the session (Pillow {version}) cannot {operation} {name}: {advice}")


def _register_heif() -> bool:
    """Register pillow_heif with Pillow. Return False when it is not installed."""
    try:
        from pillow_heif import register_heif_opener  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return False
    register_heif_opener()
    return True


def _check_pixels(size: Size, count: int, limits: Limits) -> None:
    """Check width × height × frames against the limit."""
    total, most = size[0] * size[1] * count, limits["max_pixels"]
    if total > most:
        shape = f"{size[0]:,}×{size[1]:,}" + (f" × {count:,} frames" if count > 1 else "")
        raise EngineError("too_many_pixels", f"the source has {shape} = {total:,} pixels; the limit is {most:,}")
    if total == 0:
        raise EngineError("damaged_image", f"the source is {size[0]}×{size[1]} pixels: it is empty")


def _orientation(image: pil.Image.Image) -> tuple[int, bool]:
    """Return the orientation still to apply (1 to 8, as in EXIF), and whether width and height are to be swapped."""
    found = _tagged_orientation(image)
    if image.format in {"HEIF", "TIFF"}:
        return 1, False  # Pillow applies it, and reports the rotated size
    return found, swaps_sides(found)


def _tagged_orientation(image: pil.Image.Image) -> int:
    """Read the EXIF orientation, from 1 to 8. Return 1 when the metadata is unreadable.

    The metadata of every format is read here, before its blocks are removed from the image.
    """
    try:
        exif_of(image)
    except Exception:  # noqa: BLE001 - parsers raise many classes on damaged metadata
        return 1
    return exif_orientation(image)
