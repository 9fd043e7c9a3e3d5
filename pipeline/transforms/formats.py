"""The formats of renditions: what each can be told, and how it is encoded."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from .bounds import Between, Color, Help, rgba
from .canvas import flatten
from .failures import Refusal

if TYPE_CHECKING:
    from PIL import Image

Quality = Annotated[int, Between(1, 100)]
Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]


@dataclass(frozen=True)
class Format(ABC):
    """How a rendition is encoded. Subclasses are frozen dataclasses whose fields are the options.

    `pillow` is Pillow's name, `longest` the longest side in pixels that the format can hold.
    """

    name: ClassVar[str]
    pillow: ClassVar[str]
    content_type: ClassVar[str]
    extension: ClassVar[str]
    longest: ClassVar[int]
    __pydantic_config__: ClassVar[Any] = {"extra": "forbid", "strict": True}

    def prepare(self, image: Image.Image) -> Image.Image:
        """`image` in a mode that the format can hold."""
        return image

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """What Pillow's encoder is told."""

    def encode(self, image: Image.Image, extra: dict[str, Any] | None = None) -> bytes:
        """`image` (L, RGB or RGBA, without info) as a file. Raise Refusal when the encoder cannot."""
        if max(image.size) > self.longest:
            size = f"{image.width}×{image.height}"
            raise Refusal(
                "rendition_too_large", f"{self.name} holds {self.longest} pixels a side, not {size}: resize it"
            )
        buffer = io.BytesIO()
        try:
            self.prepare(image).save(buffer, self.pillow, **{**self.arguments(), **(extra or {})})
        except (OSError, ValueError, RuntimeError) as error:
            raise Refusal("encode_failed", f"{self.name} could not be encoded: {error}") from error
        return buffer.getvalue()


@dataclass(frozen=True)
class Jpeg(Format):
    """JPEG: for photos, read everywhere, no transparency."""

    name: ClassVar[str] = "jpeg"
    pillow: ClassVar[str] = "JPEG"
    content_type: ClassVar[str] = "image/jpeg"
    extension: ClassVar[str] = "jpg"
    longest: ClassVar[int] = 65_500  # libjpeg's JPEG_MAX_DIMENSION

    quality: Annotated[Quality, Help("1 to 100; above 95 files grow and nothing is seen")] = 80
    progressive: Annotated[bool, Help("true: shown coarse first, and a little smaller")] = True
    subsampling: Annotated[Subsampling, Help("how coarse colour may be against brightness")] = "4:2:0"
    optimize: Annotated[bool, Help("true: search for the shortest codes (progressive files always have them)")] = True
    background: Annotated[Color, Help("what transparent parts become")] = "white"

    def prepare(self, image: Image.Image) -> Image.Image:
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
    longest: ClassVar[int] = 1_000_000

    compression: Annotated[Annotated[int, Between(0, 9)], Help("0 is quick and large, 9 slow and small")] = 6

    def arguments(self) -> dict[str, Any]:
        """The effort."""
        return {"compress_level": self.compression}


@dataclass(frozen=True)
class Webp(Format):
    """WebP: smaller than JPEG and with transparency, read by every browser of today."""

    name: ClassVar[str] = "webp"
    pillow: ClassVar[str] = "WEBP"
    content_type: ClassVar[str] = "image/webp"
    extension: ClassVar[str] = "webp"
    longest: ClassVar[int] = 16_383

    quality: Annotated[Quality, Help("1 to 100; with lossless: effort")] = 80
    lossless: Annotated[bool, Help("true: every pixel exactly, for drawings")] = False
    effort: Annotated[Annotated[int, Between(0, 6)], Help("0 is quick, 6 slow and a little smaller")] = 4

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
    longest: ClassVar[int] = 65_535

    quality: Annotated[Quality, Help("1 to 100; 60 looks like JPEG at 80")] = 60
    speed: Annotated[Annotated[int, Between(0, 10)], Help("10 is the quickest; below 6 it takes seconds")] = 8
    subsampling: Annotated[Subsampling, Help("how coarse colour may be against brightness")] = "4:2:0"

    def arguments(self) -> dict[str, Any]:
        """Quality and speed. Tiling follows the number of processors unless told, and would change the bytes."""
        return {
            "quality": self.quality,
            "speed": self.speed,
            "subsampling": self.subsampling,
            "autotiling": False,
            "tile_rows": 0,
            "tile_cols": 0,
        }


FORMATS: dict[str, type[Format]] = {kind.name: kind for kind in (Jpeg, Png, Webp, Avif)}
