"""Formats of renditions: their options and encoders."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Annotated, Any, Literal

from .. import pil
from ..canvas import flatten
from ..constraints import Color, Help, ItemCount, Range, rgba
from ..decode.webp_alpha import with_alpha_flag
from ..errors import EngineError
from ..timing import MAX_FRAME_MILLISECONDS, MAX_PNG_MILLISECONDS, Timing
from .equal_quality import equal_quality
from .format_base import Format as Format
from .jpeg_tables import quantization_tables
from .palettes import quantize, quantize_with_clear_entry

Quality = Annotated[int, Range(1, 100)]
Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]


@dataclass(frozen=True)
class Jpeg(
    Format,
    name="jpeg",
    pillow="JPEG",
    content_type="image/jpeg",
    extension="jpg",
    max_exif_bytes=65_533,  # a segment of 65,535 bytes less its length field
    stores_gray=True,
    alpha=False,
    max_side=65_500,  # libjpeg's JPEG_MAX_DIMENSION
    revision=2,
):
    """JPEG: for photos; every program reads it; no transparency."""

    quality: Annotated[Quality, Help("1 to 100; above 95 the file grows without a visible difference")] = 80
    progressive: Annotated[bool, Help("true: display a coarse version first; the file is slightly smaller")] = True
    subsampling: Annotated[Subsampling, Help("how coarse color may be against brightness")] = "4:2:0"
    optimize: Annotated[bool, Help("true: compute optimal Huffman codes (progressive files always have them)")] = True
    background: Annotated[Color, Help("color of transparent areas")] = "white"

    def to_encodable(self, image: pil.Image.Image) -> pil.Image.Image:
        """Flatten the image, because JPEG has no alpha."""
        return flatten(image, rgba(self.background))

    def arguments(self) -> dict[str, Any]:
        """Return the quality as quantization tables, scans and codes."""
        return {
            "qtables": quantization_tables(self.quality),
            "progressive": self.progressive,
            "subsampling": self.subsampling,
            "optimize": self.optimize,
        }


@dataclass(frozen=True)
class Png(
    Format,
    name="png",
    pillow="PNG",
    content_type="image/png",
    extension="png",
    stores_gray=True,
    animates=True,
    max_side=1_000_000,
):
    """PNG: for drawings and screenshots; lossless."""

    compression: Annotated[Annotated[int, Range(0, 9)], Help("0 is fast and large, 9 is slow and small")] = 6

    colors: Annotated[
        Annotated[int, Range(2, 256)] | None, Help("write a palette of this many colors: much smaller for drawings")
    ] = None

    def to_encodable(self, image: pil.Image.Image) -> pil.Image.Image:
        """Convert to a palette, if the recipe asks for one."""
        return quantize(image, self.colors) if self.colors else image

    def encode(
        self,
        frames: Sequence[pil.Image.Image],
        timing: Timing | None = None,
        metadata: Mapping[str, bytes] | None = None,
    ) -> bytes:
        """Encode as other formats do; round all durations if one does not fit into two 16-bit numbers."""
        if timing and timing.total > MAX_PNG_MILLISECONDS:
            shorter = timing.clamped(MAX_PNG_MILLISECONDS)  # Pillow before 12 writes thousandths only
            for fitted in (timing, timing.rounded_to(10), timing.rounded_to(1000), shorter):
                with suppress(EngineError):
                    return super().encode(frames, fitted, metadata)
            timing = timing.sped_up(MAX_PNG_MILLISECONDS)
        return super().encode(frames, timing, metadata)

    def arguments(self) -> dict[str, Any]:
        """Return the compression level."""
        return {"compress_level": self.compression}

    def metadata_arguments(self, metadata: Mapping[str, bytes]) -> dict[str, Any]:
        """Write an XMP packet as an uncompressed text."""
        arguments: dict[str, Any] = dict(metadata)
        if "xmp" in arguments:
            arguments["pnginfo"] = pil.PngImagePlugin.PngInfo()
            arguments["pnginfo"].add_itxt("XML:com.adobe.xmp", arguments.pop("xmp").decode())
        return arguments

    def animated(self, timing: Timing) -> dict[str, Any]:
        """Write each frame whole: Pillow otherwise omits areas that seem unchanged, and confuses their alpha."""
        return {**super().animated(timing), "blend": 0, "disposal": 0}


@dataclass(frozen=True)
class Webp(
    Format,
    name="webp",
    pillow="WEBP",
    content_type="image/webp",
    extension="webp",
    animates=True,
    max_side=16_383,
    revision=2,
):
    """WebP: smaller than JPEG, with transparency; all current browsers read it."""

    quality: Annotated[Quality, Help("1 to 100; photos at 83 look like JPEG at 80; with lossless: effort")] = 80
    lossless: Annotated[bool, Help("true: keep every pixel exactly, for drawings")] = False
    effort: Annotated[Annotated[int, Range(0, 6)], Help("0 is fast, 6 is slow and slightly smaller")] = 4

    def encode(
        self,
        frames: Sequence[pil.Image.Image],
        timing: Timing | None = None,
        metadata: Mapping[str, bytes] | None = None,
    ) -> bytes:
        """Encode as other formats do; announce the alpha of an animation.

        libwebp omits the flag when it cuts every frame down to its opaque part. Some readers then fill the rest of the
        canvas with black.
        """
        body = super().encode(frames, timing, metadata)
        clear = any(frame.mode == "RGBA" and frame.getchannel("A").getextrema()[0] != 255 for frame in frames)
        return with_alpha_flag(body) if timing and clear else body

    def arguments(self) -> dict[str, Any]:
        """Return quality and effort."""
        return {"quality": self.quality, "lossless": self.lossless, "method": self.effort}


@dataclass(frozen=True)
class Avif(
    Format,
    name="avif",
    pillow="AVIF",
    content_type="image/avif",
    extension="avif",
    animates=True,
    max_side=32_768,  # libavif's default limit for reading; it writes twice that
    revision=3,
):
    """AVIF: the smallest for photos, with transparency; slow to encode."""

    quality: Annotated[Quality, Help("1 to 100; photos at 61 look like JPEG at 80")] = 60
    speed: Annotated[
        Annotated[int, Range(0, 10)] | None,
        Help("10 is the fastest; default: 5 with fewer partitions, but 8 above 24 megapixels and for animations"),
    ] = None
    subsampling: Annotated[Subsampling, Help("how coarse color may be against brightness")] = "4:4:4"

    def encode(
        self,
        frames: Sequence[pil.Image.Image],
        timing: Timing | None = None,
        metadata: Mapping[str, bytes] | None = None,
    ) -> bytes:
        """Encode as other formats do; without `speed`, encode so fast that an execution has time for it."""
        large = frames[0].width * frames[0].height > _MAX_PIXELS
        kind = replace(self, speed=_FAST_SPEED) if self.speed is None and (large or timing is not None) else self
        return super(Avif, kind).encode(frames, timing, metadata)

    def arguments(self) -> dict[str, Any]:
        """Return quality, speed and tuning, with fixed threads and tiles: their defaults vary and change the bytes."""
        usual = self.speed is None
        tuned = _has_image_tuning()
        return {
            "quality": self.quality,
            "speed": (_SPEED if tuned else _UNTUNED_SPEED) if usual else self.speed,
            "subsampling": self.subsampling,
            "advanced": (_IMAGE_TUNING | _FEWER_PARTITIONS if usual else _IMAGE_TUNING) if tuned else None,
            "max_threads": 2,
            "autotiling": False,
            "tile_rows": 0,
            "tile_cols": 0,
        }

    def animated(self, timing: Timing) -> dict[str, Any]:
        """Leave the tuning to the library, because libaom tunes only still images for image quality."""
        return {**super().animated(timing), "advanced": None}


_SPEED, _MAX_PIXELS = 5, 24_000_000
"""Speed of AVIF by default, and the pixels up to which it is used, with fewer partitions."""

_UNTUNED_SPEED = 6
"""Default speed of builds whose encoder has no options for tuning and partitions."""

_FAST_SPEED = 8
"""Speed of AVIF above that size and for animations."""

_IMAGE_TUNING = {"color:tune": "iq"}
"""Tuning of libaom for the visible quality of still images. libavif 1.4 does it by default, 1.3 does not."""

_FEWER_PARTITIONS = {"color:enable-rect-partitions": "0", "color:min-partition-size": "8"}
"""Blocks that libaom does not try at the default speed. They save 60 % of the time, and cost 0.4 to 0.6 points."""


@cache
def _has_image_tuning() -> bool:
    """Return True if the library has the options: libaom has all from version 3.12 on, other codecs do not."""
    try:
        options = _IMAGE_TUNING | _FEWER_PARTITIONS
        pil.Image.new("L", (16, 16)).save(io.BytesIO(), "AVIF", advanced=options, speed=10, max_threads=1)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Gif(
    Format,
    name="gif",
    pillow="GIF",
    content_type="image/gif",
    extension="gif",
    animates=True,
    holds_xmp=False,
    max_side=65_535,
):
    """GIF: animations for old programs; 256 colors; pixels are transparent or opaque."""

    colors: Annotated[Annotated[int, Range(2, 256)], Help("colors in the palette of each frame")] = 256

    def to_encodable(self, image: pil.Image.Image) -> pil.Image.Image:
        """Convert to a palette in which pixels are transparent or opaque."""
        return quantize_with_clear_entry(image, self.colors)

    def encode(
        self,
        frames: Sequence[pil.Image.Image],
        timing: Timing | None = None,
        metadata: Mapping[str, bytes] | None = None,
    ) -> bytes:
        """Encode as other formats do; an animation that is too slow for GIF runs as slowly as GIF allows."""
        timing = timing.in_hundredths() if timing else None
        try:
            return super().encode(frames, timing, metadata)
        except EngineError:
            if timing is None or timing.total <= MAX_FRAME_MILLISECONDS:
                raise
        # Pillow merges identical frames, and the duration of the merged frame exceeds the limit.
        return super().encode(frames, timing.sped_up(MAX_FRAME_MILLISECONDS), metadata)

    def arguments(self) -> dict[str, Any]:
        """Keep the palette as it is."""
        return {"optimize": False}

    def animated(self, timing: Timing) -> dict[str, Any]:
        """Write each frame whole, on a transparent background."""
        # GIF counts repetitions after the first play. A single play is expressed by omitting the count.
        loop = {} if timing.loop == 1 else {"loop": max(0, timing.loop - 1)}
        return {"duration": timing.durations, "disposal": 2, **loop}


@dataclass(frozen=True)
class Tiff(
    Format, name="tiff", pillow="TIFF", content_type="image/tiff", extension="tif", stores_gray=True, max_side=1_000_000
):
    """TIFF: for print and archives; lossless."""

    compression: Annotated[
        Literal["lzw", "deflate", "none"], Help("deflate is the smallest, lzw the most widely supported")
    ] = "lzw"

    def arguments(self) -> dict[str, Any]:
        """Return the compression by Pillow's name."""
        return {"compression": {"lzw": "tiff_lzw", "deflate": "tiff_adobe_deflate", "none": "raw"}[self.compression]}

    def metadata_arguments(self, metadata: Mapping[str, bytes]) -> dict[str, Any]:
        """Write an XMP packet as a tag among those of EXIF."""
        arguments: dict[str, Any] = dict(metadata)
        if "xmp" in arguments:
            from ..carried.tiff import XMP

            tags = pil.Image.Exif()
            tags.load(arguments.get("exif", b""))
            tags[XMP] = arguments.pop("xmp")
            arguments["exif"] = tags.tobytes()
        return arguments


@dataclass(frozen=True)
class _DecidedLate(
    Format, pillow="", content_type="", extension="", max_side=65_535, animates=True, decided_late=True, revision=3
):
    """Base class of formats that are chosen once the source is known."""

    def arguments(self) -> dict[str, Any]:
        """Raise an error: nothing is encoded in this format itself."""
        raise AssertionError(f"a bug: {self.name} must become another format before encoding")


@dataclass(frozen=True)
class Auto(_DecidedLate, name="auto"):
    """Auto: the smallest format that can hold the image; each is tried once, at qualities that look the same."""

    quality: Annotated[Quality, Help("on the scale of JPEG; other formats get the quality that looks the same")] = 80
    among: Annotated[
        Annotated[list[Literal["jpeg", "png", "webp", "avif"]], ItemCount(1, 4)], Help("formats to choose from")
    ] = field(default_factory=lambda: ["avif", "webp", "jpeg"])

    def candidates(self) -> list[Format]:
        """Return the formats to try, at qualities that look the same."""
        makers: dict[str, Format] = {
            "jpeg": Jpeg(quality=self.quality),
            "png": Png(),
            "webp": Webp(quality=equal_quality("webp", self.quality)),
            "avif": Avif(quality=equal_quality("avif", self.quality)),
        }
        return [makers[name] for name in self.among]


@dataclass(frozen=True)
class Keep(_DecidedLate, name="keep"):
    """Keep: the format of the source (PNG for BMP, JPEG for HEIC)."""

    quality: Annotated[Quality, Help("on the scale of JPEG; other formats get the quality that looks the same")] = 80

    def format_for(self, source: str) -> Format:
        """Return the format for a source format (Pillow's name)."""
        makers: dict[str, Format] = {
            "PNG": Png(),
            "BMP": Png(),
            "GIF": Gif(),
            "TIFF": Tiff(),
            "WEBP": Webp(quality=equal_quality("webp", self.quality)),
            "AVIF": Avif(quality=equal_quality("avif", self.quality)),
        }
        return makers.get(source, Jpeg(quality=self.quality))


FORMATS: dict[str, type[Format]] = {kind.name: kind for kind in (Jpeg, Png, Webp, Avif, Gif, Tiff, Auto, Keep)}
ENCODED_FORMATS = [name for name, kind in FORMATS.items() if not kind.decided_late]
"""Formats that a file can have."""
