"""Base class of formats: typed options, and an encoder of Pillow."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypedDict, Unpack

from .. import pil
from ..errors import EngineError
from ..timing import Timing


class FormatFacts(TypedDict, total=False):
    """Facts about a format, as keywords of its class: `class Gif(Format, name="gif", max_side=65_535)`.

    `pillow` is Pillow's name, `max_side` the longest side in pixels that the format can hold. `Format` describes the
    others.
    """

    name: str
    pillow: str
    content_type: str
    extension: str
    max_side: int
    alpha: bool
    animates: bool
    max_exif_bytes: int
    stores_gray: bool
    holds_xmp: bool
    decided_late: bool
    revision: int


@dataclass(frozen=True)
class Format(ABC):
    """Base class of formats. Subclasses are frozen dataclasses whose fields are the options."""

    name: ClassVar[str]
    pillow: ClassVar[str]
    content_type: ClassVar[str]
    extension: ClassVar[str]
    revision: ClassVar[int] = 1
    """Revision of the encoder. Raise it when the encoder makes other bytes than before; its recipes become due."""
    max_side: ClassVar[int]
    alpha: ClassVar[bool] = True
    animates: ClassVar[bool] = False
    max_exif_bytes: ClassVar[int | None] = None
    """Largest EXIF block in bytes, where the format limits it."""
    stores_gray: ClassVar[bool] = False
    """True when the file stores a gray image as gray, for which an RGB profile would be invalid."""
    holds_xmp: ClassVar[bool] = True
    decided_late: ClassVar[bool] = False
    """True for `auto` and `keep`, which become another format once the source is known."""
    __pydantic_config__: ClassVar[Any] = {"extra": "forbid", "strict": True}

    def __init_subclass__(cls, **facts: Unpack[FormatFacts]) -> None:
        """Set the facts as attributes of the class."""
        for fact, value in facts.items():
            setattr(cls, fact, value)

    def to_encodable(self, image: pil.Image.Image) -> pil.Image.Image:
        """Convert `image` to a mode that the format can hold."""
        return image

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Return the arguments of Pillow's encoder."""

    def encode(
        self,
        frames: Sequence[pil.Image.Image],
        timing: Timing | None = None,
        metadata: Mapping[str, bytes] | None = None,
    ) -> bytes:
        """Encode frames in L, RGB or RGBA without info. With `timing`, they become an animation.

        Raises:
            EngineError: the image is too large for the format, or the encoder failed.
        """
        first, *others = [self.to_encodable(frame) for frame in _in_one_mode(frames)]
        if max(first.size) > self.max_side:
            size = f"{first.width}×{first.height}"
            raise EngineError(
                "rendition_too_large", f"{self.name} holds {self.max_side} pixels per side, not {size}: resize it"
            )
        extra: dict[str, Any] = self.metadata_arguments(metadata or {})
        if timing is not None:
            extra |= {"save_all": True, "append_images": others, **self.animated(timing)}
        buffer = io.BytesIO()
        try:
            first.save(buffer, self.pillow, **{**self.arguments(), **extra})
        except MemoryError:
            raise
        except Exception as error:
            raise EngineError("encode_failed", f"{self.name} could not be encoded: {error}") from error
        return buffer.getvalue()

    def metadata_arguments(self, metadata: Mapping[str, bytes]) -> dict[str, Any]:
        """Return the arguments of Pillow's encoder for the blocks icc_profile, exif and xmp."""
        return dict(metadata)

    def animated(self, timing: Timing) -> dict[str, Any]:
        """Return the arguments of Pillow's encoder for an animation."""
        return {"duration": timing.durations, "loop": timing.loop}


def _in_one_mode(frames: Sequence[pil.Image.Image]) -> list[pil.Image.Image]:
    """Convert all frames to one mode that holds them, as plain images.

    Encoders reject animations in which only some frames have alpha, and look for further frames in an open file.
    """
    modes = {frame.mode for frame in frames}
    mode = "RGBA" if "RGBA" in modes else "RGB"
    if len(modes) > 1:
        return [frame.convert(mode) for frame in frames]
    return [frame if type(frame) is pil.Image.Image else frame.copy() for frame in frames]
