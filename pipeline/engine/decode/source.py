"""The source as a file in the session: told by its content, checked against the limits, and only then decoded."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..errors import EngineError
from ..image_view import ImageView, Size
from ..pixel_modes import scale_clear_color
from ..protocol import Limits, SourceReport
from ..timing import MAX_FRAME_MILLISECONDS, Timing
from ..transforms.auto_orient import ORIENTATION, covers, swaps_sides, upright
from ..transforms.to_srgb import ToSrgb, srgb_profile
from . import frames, jpeg_rows, sniff
from .exif import exif_of, late_exif
from .guard import allow_large_metadata, map_decoder_errors, pixel_limit, too_many_pixels

if TYPE_CHECKING:
    from PIL import Image

OPTIONAL_FORMATS = {"WEBP": "webp", "AVIF": "avif"}
"""Formats that Pillow may have been built without, and its name for what it then lacks."""

ANIMATED_FORMATS = ("GIF", "WEBP", "PNG", "AVIF")
"""Formats whose frames are one moving picture. The pages of a TIFF are not."""


MAX_LOOPS = 65_534

DRAFT_MARGINS = {8: 1.7, 4: 1.35, 2: 1.2}
"""A JPEG is decoded at 1/8, 1/4 or 1/2 when this many times the pixels that are needed remain.

Found by measuring: with these the renditions of nine photos and textures stay at an SSIM of 0.98 or more against full
decoding. The smaller, the more it takes, because a decoder at 1/8 knows no more of 8×8 pixels than their mean.
"""


@dataclass
class Source:
    """An opened source: its header is read, its pixels are not. `size` is as seen, after orientation.

    `most` is the limit of pixels over all frames.
    """

    stream: BinaryIO
    image: Image.Image
    format: str
    mode: str
    frames: int
    index: int
    size: Size
    orientation: int
    profile: bytes | None
    max_pixels: int
    color_conversion: ToSrgb = field(default_factory=ToSrgb)
    patched: bool = False
    loop: int | None = None
    shrink_factor: int = 1
    durations: list[int] = field(default_factory=list)

    @property
    def animated(self) -> bool:
        """True when the frames are one moving picture."""
        return self.frames > 1 and self.format in ANIMATED_FORMATS

    @property
    def timing(self) -> Timing:
        """How the frames that were decoded run."""
        # A GIF without a count is played once; the other formats count from 1, and 0 is without end.
        if self.format == "GIF":
            return Timing(self.durations, 1 if self.loop is None else self.loop + 1 if self.loop else 0)
        return Timing(self.durations, self.loop or 0)

    def shown_as_stored(self) -> bool:
        """True when the stored pixels are seen as they are: upright, and in the colors of their own profile."""
        return self.orientation == 1 and self.index == 0

    def read_file(self) -> bytes:
        """The whole file."""
        self.stream.seek(0)
        return self.stream.read()

    def profile_for(self, mode: str) -> bytes:
        """The profile that describes a rendition in that mode: the source's, when its colors were kept, or sRGB."""
        return self.profile if self.profile and mode in {"RGB", "RGBA"} else srgb_profile()

    def in_srgb(self, frames: Sequence[Image.Image]) -> Sequence[Image.Image]:
        """The frames in sRGB: themselves, unless their colors were left in the space of the source's profile."""
        return [self.color_conversion.convert(frame, self.profile)[0] for frame in frames] if self.profile else frames

    def limit_rows(self, rows: int) -> None:
        """Have no more decoded than the first `rows` rows, when the file allows it; the others will be missing."""
        from PIL import Image

        fit = self.image.format == "JPEG" and self.orientation == 1 and rows < self.size[1]
        if not fit or self.stream.seek(0, os.SEEK_END) > jpeg_rows.MAX_FILE_BYTES:
            return
        short = jpeg_rows.truncate_rows(self.read_file(), rows)
        if short is not None:
            with map_decoder_errors(self.format):
                self.image = Image.open(io.BytesIO(short), formats=[self.format])

    def report(self) -> SourceReport:
        """What the host is told about the source."""
        width, height = self.size
        return SourceReport(format=self.format, mode=self.mode, width=width, height=height, frames=self.frames)

    def decode_frames(self, min_scale: float, colors: ToSrgb, count: int, *, patch: bool) -> Iterator[ImageView]:
        """`count` frames from the first (or the picked) one on: decoded at `least` of their size, converted, upright.

        A JPEG can be decoded straight to 1/2, 1/4 or 1/8 of its size, for a fraction of the work. With `patch`, what
        is missing of a file that was cut short stays gray.
        """
        self.color_conversion = replace(colors, keep_profile=False)
        profile, canvas, total = self.profile, self.image.size, 0
        for number in range(self.index, self.index + count):
            with map_decoder_errors(self.format):
                if number:
                    self.image.seek(number)
            # A frame of a GIF may be larger than its screen, which then grows.
            total += self.image.width * self.image.height
            if total > self.max_pixels:
                raise too_many_pixels(total, self.max_pixels)
            self._load(min_scale, patch=patch)
            self._record_duration(self.image.info)
            # The next frame of an animation is drawn over this one, which therefore must stay as it is.
            image = self.image.crop((0, 0, *canvas)) if count > 1 else self.image
            converted, self.profile = colors.convert(image, profile)
            covered = covers(image.size, self.shrink_factor, self.size, self.orientation)
            yield ImageView.from_image(upright(converted, self.orientation), self.size, covered)

    def _record_duration(self, info: Mapping[Any, Any]) -> None:
        """Keep what the frame says of its time, within what every format can hold (GIF: 16 bits of 1/100 s)."""
        duration, loop = info.get("duration"), info.get("loop")
        whole = round(duration) if isinstance(duration, (int, float)) and duration else 100
        self.durations.append(min(max(whole, 10), MAX_FRAME_MILLISECONDS))
        self.loop = min(max(loop, 0), MAX_LOOPS) if isinstance(loop, int) else None

    def _load(self, min_scale: float, *, patch: bool) -> None:
        self._draft(min_scale)
        try:
            with map_decoder_errors(self.format):
                self.image.load()
        except EngineError:
            if not patch or self.frames > 1:
                raise
            self._load_patched(min_scale)

    def _draft(self, min_scale: float) -> None:
        """Have a JPEG decoded as small as `least` of its size allows."""
        part = next((part for part, margin in DRAFT_MARGINS.items() if min_scale * margin * part <= 1), 1)
        if self.image.format not in {"JPEG", "MPO"} or part == 1:
            return
        width, height = self.image.size
        drafted = self.image.draft(None, (max(1, width // part), max(1, height // part)))
        if drafted is not None:
            self.shrink_factor = round(width / drafted[1][2])

    def _load_patched(self, min_scale: float) -> None:
        """Open and decode the source again, without the strict checks, and mark it as patched."""
        from PIL import ImageFile

        with map_decoder_errors(self.format):
            self.image = _open(self.stream, self.format)
            # This reads the EXIF block, which a rendition may keep, before the conversion of the pixels drops it.
            _tagged_orientation(self.image)
            ImageFile.LOAD_TRUNCATED_IMAGES = True
            try:
                # Seeking decodes the frames before this one.
                self.image.seek(self.index)
                self._draft(min_scale)
                self.image.load()
            finally:
                ImageFile.LOAD_TRUNCATED_IMAGES = False
        self.patched = True


@contextmanager
def open_source(file: Path, formats: list[str], limits: Limits, index: int = 0) -> Iterator[Source]:
    """The source in `file`, when its format is one of `formats` and it is within the limits; else Refusal.

    `index` picks a frame or page. The file is held open by us, because Pillow does not close it when decoding fails.
    """
    try:
        stream = file.open("rb")
    except FileNotFoundError:
        raise EngineError("source_missing", "the source file is not in the session: it was lost on the way") from None
    with stream:
        yield _open_checked(stream, formats, limits, index)


def _open_checked(stream: BinaryIO, formats: list[str], limits: Limits, index: int) -> Source:
    found = _detect_allowed_format(stream.read(sniff.HEAD_BYTES), formats)
    # Pillow's own limit holds while it opens: a GIF has it fill its first frame at once.
    with pixel_limit(limits), map_decoder_errors(found):
        image = _open(stream, found)
    _check_pixels(image.size, 1, limits)
    with map_decoder_errors(found):
        count = frames.count_frames(image, stream, limits["max_frames"])
    if count > limits["max_frames"]:
        raise EngineError(
            "too_many_frames", f"the source has more than {limits['max_frames']:,} frames, which is the limit"
        )
    _check_pixels(image.size, count, limits)
    # The first picture of a PNG may be for programs that know no animation, and no frame of it.
    hidden = int(count > 1 and bool(getattr(image, "default_image", False)))
    index, count = index + hidden, count - hidden
    if index - hidden >= count:
        picked = f"the recipe picks frame {index - hidden}"
        raise EngineError("frame_missing", f"{picked}; the source has {count}, counted from 0")
    if index:
        with pixel_limit(limits), map_decoder_errors(found):
            image.seek(index)
        _check_pixels(image.size, count, limits)
    return _build_source(stream, image, found, (count, index, limits["max_pixels"]))


def _open(stream: BinaryIO, found: str) -> Image.Image:
    """Read the header of an image, and the EXIF block wherever it lies. Decode no pixels."""
    from PIL import Image

    if found != "PNG":
        return Image.open(stream, formats=[found])
    allow_large_metadata()
    image = Image.open(stream, formats=[found])
    scale_clear_color(image)
    if "exif" not in image.info and (exif := late_exif(stream)):
        image.info["exif"] = exif
    return image


def _build_source(stream: BinaryIO, image: Image.Image, found: str, numbers: tuple[int, int, int]) -> Source:
    count, index, most = numbers
    orientation, swapped = _orientation(image)
    size = (image.height, image.width) if swapped else image.size
    profile = image.info.get("icc_profile") or None
    return Source(stream, image, found, image.mode, count, index, size, orientation, profile, most)


def _detect_allowed_format(head: bytes, formats: list[str]) -> str:
    """The format by the first bytes, when it is allowed and Pillow can read it."""
    if not head:
        raise EngineError("empty_source", "the source has 0 bytes: upload it again")
    found, allowed = sniff.detect_format(head), ", ".join(formats)
    if found is None:
        raise EngineError("not_an_image", f"the source is not an image in a known format; allowed are: {allowed}")
    if found not in formats:
        raise EngineError("format_not_allowed", f"the source is {found}; allowed are: {allowed}")
    require_codec(found, "read")
    return found


def is_supported(name: str) -> bool:
    """True when the Pillow of this session knows the format `name`."""
    from PIL import features

    return (
        _register_heif()
        if name == "HEIF"
        else name not in OPTIONAL_FORMATS or bool(features.check(OPTIONAL_FORMATS[name]))
    )


def require_codec(name: str, operation: str) -> None:
    """Refusal when the Pillow of this session cannot `what` (read or write) the format `name`."""
    from PIL import __version__

    if not is_supported(name):
        advice = "use another format, or a session image that has it"
        raise EngineError("unsupported_here", f"the session (Pillow {__version__}) cannot {operation} {name}: {advice}")


def _register_heif() -> bool:
    try:
        from pillow_heif import register_heif_opener  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return False
    register_heif_opener()
    return True


def _check_pixels(size: Size, count: int, limits: Limits) -> None:
    total, most = size[0] * size[1] * count, limits["max_pixels"]
    if total > most:
        shape = f"{size[0]:,}×{size[1]:,}" + (f" × {count:,} frames" if count > 1 else "")
        raise EngineError("too_many_pixels", f"the source has {shape} = {total:,} pixels; the limit is {most:,}")
    if total == 0:
        raise EngineError("damaged_image", f"the source is {size[0]}×{size[1]} pixels: there is nothing to see")


def _orientation(image: Image.Image) -> tuple[int, bool]:
    """The turn that is left to do (1 to 8, as EXIF counts), and whether the sides are still to change places."""
    found = _tagged_orientation(image)
    if image.format == "HEIF":
        return 1, False  # the decoder has applied it
    if image.format == "TIFF":
        # Pillow turns it when it loads. The size is told as turned already, unless only XMP speaks of the turn.
        told = swaps_sides(getattr(image, "tag_v2", {}).get(ORIENTATION, 1))
        return 1, swaps_sides(found) and not told
    return found, swaps_sides(found)


def _tagged_orientation(image: Image.Image) -> int:
    """The EXIF orientation, from 1 to 8. Unreadable metadata is no reason to refuse the pixels.

    For every format the metadata is read here, before its blocks are taken off the picture.
    """
    from PIL import Image

    try:
        exif = exif_of(image)
        if image.format == "AVIF":
            # Only the turn of the format itself counts, which Pillow puts in here; XMP must not turn it again.
            exif = Image.Exif()
            exif.load(image.info.get("exif", b""))
        value = exif.get(ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - the parsers raise a dozen classes on broken metadata
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
