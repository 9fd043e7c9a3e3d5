"""The formats of renditions: what each can be told, and how it is encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from ..canvas import flatten
from ..constraints import Color, Help, ItemCount, Range, rgba
from ..errors import EngineError
from ..timing import MAX_FRAME_MILLISECONDS, MAX_PNG_MILLISECONDS, Timing
from .format_base import Format as Format
from .palettes import quantize, quantize_with_clear_entry

if TYPE_CHECKING:
    from PIL import Image


Quality = Annotated[int, Range(1, 100)]
Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]


@dataclass(frozen=True)
class Jpeg(Format):
    """JPEG: for photos, read everywhere, no transparency."""

    name: ClassVar[str] = "jpeg"
    pillow: ClassVar[str] = "JPEG"
    content_type: ClassVar[str] = "image/jpeg"
    extension: ClassVar[str] = "jpg"
    max_exif_bytes: ClassVar[int | None] = 65_533  # what a segment holds beside its length
    stores_gray: ClassVar[bool] = True
    alpha: ClassVar[bool] = False
    max_side: ClassVar[int] = 65_500  # libjpeg's JPEG_MAX_DIMENSION

    quality: Annotated[Quality, Help("1 to 100; above 95 files grow and nothing is seen")] = 80
    progressive: Annotated[bool, Help("true: shown coarse first, and a little smaller")] = True
    subsampling: Annotated[Subsampling, Help("how coarse color may be against brightness")] = "4:2:0"
    optimize: Annotated[bool, Help("true: search for the shortest codes (progressive files always have them)")] = True
    background: Annotated[Color, Help("what transparent parts become")] = "white"

    def to_encodable(self, image: Image.Image) -> Image.Image:
        """Without alpha, which JPEG lacks."""
        return flatten(image, rgba(self.background))

    def arguments(self) -> dict[str, Any]:
        """Quality, scans and codes."""
        return {
            "quality": self.quality,
            "progressive": self.progressive,
            "subsampling": self.subsampling,
            "optimize": self.optimize,
        }


@dataclass(frozen=True)
class Png(Format):
    """PNG: for drawings and screenshots, loses nothing."""

    name: ClassVar[str] = "png"
    pillow: ClassVar[str] = "PNG"
    content_type: ClassVar[str] = "image/png"
    extension: ClassVar[str] = "png"
    stores_gray: ClassVar[bool] = True
    animates: ClassVar[bool] = True
    max_side: ClassVar[int] = 1_000_000

    compression: Annotated[Annotated[int, Range(0, 9)], Help("0 is quick and large, 9 slow and small")] = 6

    colors: Annotated[
        Annotated[int, Range(2, 256)] | None, Help("write a palette of so many colors: much smaller for drawings")
    ] = None

    def to_encodable(self, image: Image.Image) -> Image.Image:
        """In a palette, when one is asked for."""
        return quantize(image, self.colors) if self.colors else image

    def encode(
        self, frames: Sequence[Image.Image], timing: Timing | None = None, metadata: Mapping[str, bytes] | None = None
    ) -> bytes:
        """As other formats do it; where a time has no room in two numbers of 16 bits, all are rounded."""
        if timing and timing.total > MAX_PNG_MILLISECONDS:
            shorter = timing.clamped(MAX_PNG_MILLISECONDS)  # Pillow before 12 knows thousandths alone
            for fitted in (timing, timing.rounded_to(10), timing.rounded_to(1000), shorter):
                with suppress(EngineError):
                    return super().encode(frames, fitted, metadata)
            timing = timing.sped_up(MAX_PNG_MILLISECONDS)
        return super().encode(frames, timing, metadata)

    def arguments(self) -> dict[str, Any]:
        """The effort."""
        return {"compress_level": self.compression}

    def animated(self, timing: Timing) -> dict[str, Any]:
        """Each frame whole: Pillow would leave out what seems unchanged, and mixes up alpha on the way."""
        return {**super().animated(timing), "blend": 0, "disposal": 0}


@dataclass(frozen=True)
class Webp(Format):
    """WebP: smaller than JPEG and with transparency, read by every browser of today."""

    name: ClassVar[str] = "webp"
    pillow: ClassVar[str] = "WEBP"
    content_type: ClassVar[str] = "image/webp"
    extension: ClassVar[str] = "webp"
    animates: ClassVar[bool] = True
    max_side: ClassVar[int] = 16_383

    quality: Annotated[Quality, Help("1 to 100; with lossless: effort")] = 80
    lossless: Annotated[bool, Help("true: every pixel exactly, for drawings")] = False
    effort: Annotated[Annotated[int, Range(0, 6)], Help("0 is quick, 6 slow and a little smaller")] = 4

    def arguments(self) -> dict[str, Any]:
        """Quality and effort."""
        return {"quality": self.quality, "lossless": self.lossless, "method": self.effort}


@dataclass(frozen=True)
class Avif(Format):
    """AVIF: the smallest for photos, with transparency; slow to make."""

    name: ClassVar[str] = "avif"
    pillow: ClassVar[str] = "AVIF"
    content_type: ClassVar[str] = "image/avif"
    extension: ClassVar[str] = "avif"
    animates: ClassVar[bool] = True
    max_side: ClassVar[int] = 32_768  # what libavif reads unless it is told otherwise; it writes twice that

    quality: Annotated[Quality, Help("1 to 100; 60 looks like JPEG at 80")] = 60
    speed: Annotated[Annotated[int, Range(0, 10)], Help("10 is the quickest; below 6 it takes seconds")] = 8
    subsampling: Annotated[Subsampling, Help("how coarse color may be against brightness")] = "4:2:0"

    def arguments(self) -> dict[str, Any]:
        """Quality and speed. Threads and tiles follow the number of processors unless told, and change the bytes."""
        return {
            "quality": self.quality,
            "speed": self.speed,
            "subsampling": self.subsampling,
            "max_threads": 2,
            "autotiling": False,
            "tile_rows": 0,
            "tile_cols": 0,
        }


@dataclass(frozen=True)
class Gif(Format):
    """GIF: animations for programs that know nothing newer; 256 colors, pixels are clear or not."""

    name: ClassVar[str] = "gif"
    pillow: ClassVar[str] = "GIF"
    content_type: ClassVar[str] = "image/gif"
    extension: ClassVar[str] = "gif"
    animates: ClassVar[bool] = True
    max_side: ClassVar[int] = 65_535

    colors: Annotated[Annotated[int, Range(2, 256)], Help("colors in the palette of each frame")] = 256

    def to_encodable(self, image: Image.Image) -> Image.Image:
        """In a palette, with pixels that are clear or opaque."""
        return quantize_with_clear_entry(image, self.colors)

    def encode(
        self, frames: Sequence[Image.Image], timing: Timing | None = None, metadata: Mapping[str, bytes] | None = None
    ) -> bytes:
        """As other formats do it; an animation too slow for it runs as slowly as it can."""
        timing = timing.in_hundredths() if timing else None
        try:
            return super().encode(frames, timing, metadata)
        except EngineError:
            if timing is None or timing.total <= MAX_FRAME_MILLISECONDS:
                raise
        # Frames that show the same become one, whose time has no room in the file.
        return super().encode(frames, timing.sped_up(MAX_FRAME_MILLISECONDS), metadata)

    def arguments(self) -> dict[str, Any]:
        """The palette as it was made, and nothing about earlier frames."""
        return {"optimize": False}

    def animated(self, timing: Timing) -> dict[str, Any]:
        """Each frame whole, on clear ground."""
        # GIF counts repetitions after the first time, and has no way to say 1 but to leave the count out.
        loop = {} if timing.loop == 1 else {"loop": max(0, timing.loop - 1)}
        return {"duration": timing.durations, "disposal": 2, **loop}


@dataclass(frozen=True)
class Tiff(Format):
    """TIFF: for printers and archives, loses nothing."""

    name: ClassVar[str] = "tiff"
    pillow: ClassVar[str] = "TIFF"
    content_type: ClassVar[str] = "image/tiff"
    extension: ClassVar[str] = "tif"
    stores_gray: ClassVar[bool] = True
    max_side: ClassVar[int] = 1_000_000

    compression: Annotated[Literal["lzw", "deflate", "none"], Help("deflate is the smallest, lzw the best known")] = (
        "lzw"
    )

    def arguments(self) -> dict[str, Any]:
        """The compression by Pillow's names."""
        return {"compression": {"lzw": "tiff_lzw", "deflate": "tiff_adobe_deflate", "none": "raw"}[self.compression]}


@dataclass(frozen=True)
class _DecidedLate(Format):
    """A format that is chosen when the source is known."""

    pillow: ClassVar[str] = ""
    content_type: ClassVar[str] = ""
    extension: ClassVar[str] = ""
    max_side: ClassVar[int] = 65_535
    animates: ClassVar[bool] = True
    decided_late: ClassVar[bool] = True

    def arguments(self) -> dict[str, Any]:
        """Nothing is encoded in this format itself."""
        raise AssertionError(f"a bug: {self.name} is decided when the source is known, and then is another format")


@dataclass(frozen=True)
class Auto(_DecidedLate):
    """Auto: the smallest of the formats that can hold the picture, each at the same visible quality and tried once."""

    name: ClassVar[str] = "auto"

    quality: Annotated[Quality, Help("on the scale of JPEG; AVIF gets three quarters of the number")] = 80
    among: Annotated[
        Annotated[list[Literal["jpeg", "png", "webp", "avif"]], ItemCount(1, 4)], Help("the formats to choose from")
    ] = field(default_factory=lambda: ["avif", "webp", "jpeg"])

    def candidates(self) -> list[Format]:
        """The formats to try, at the quality that looks the same."""
        makers: dict[str, Format] = {
            "jpeg": Jpeg(quality=self.quality),
            "png": Png(),
            "webp": Webp(quality=self.quality),
            "avif": Avif(quality=max(1, round(self.quality * 0.75))),
        }
        return [makers[name] for name in self.among]


@dataclass(frozen=True)
class Keep(_DecidedLate):
    """Keep: the format of the source (PNG for BMP, JPEG for HEIC)."""

    name: ClassVar[str] = "keep"

    quality: Annotated[Quality, Help("on the scale of JPEG; AVIF gets three quarters of the number")] = 80

    def format_for(self, source: str) -> Format:
        """The encoder for a source of that format (Pillow's name)."""
        makers: dict[str, Format] = {
            "PNG": Png(),
            "BMP": Png(),
            "GIF": Gif(),
            "TIFF": Tiff(),
            "WEBP": Webp(quality=self.quality),
            "AVIF": Avif(quality=max(1, round(self.quality * 0.75))),
        }
        return makers.get(source, Jpeg(quality=self.quality))


FORMATS: dict[str, type[Format]] = {kind.name: kind for kind in (Jpeg, Png, Webp, Avif, Gif, Tiff, Auto, Keep)}
ENCODED_FORMATS = [name for name, kind in FORMATS.items() if not kind.decided_late]
"""The formats that a file can be in."""
