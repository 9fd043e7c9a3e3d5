"""What every format is: named, with typed options, and an encoder of Pillow's behind it."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import EngineError
from ..timing import Timing

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Format(ABC):
    """How a rendition is encoded. Subclasses are frozen dataclasses whose fields are the options.

    `pillow` is Pillow's name, `longest` the longest side in pixels that the format can hold.
    """

    name: ClassVar[str]
    pillow: ClassVar[str]
    content_type: ClassVar[str]
    extension: ClassVar[str]
    revision: ClassVar[int] = 1
    """Grows when the encoder makes other bytes of the same pixels: recipes that use it become due."""
    max_side: ClassVar[int]
    alpha: ClassVar[bool] = True
    animates: ClassVar[bool] = False
    max_exif_bytes: ClassVar[int | None] = None
    """The most bytes of a block of EXIF, where that is little."""
    stores_gray: ClassVar[bool] = False
    """True when a gray picture stays gray in the file, for which a profile of colors would be invalid."""
    decided_late: ClassVar[bool] = False
    """True for `auto` and `keep`, which become another format when the source is known."""
    __pydantic_config__: ClassVar[Any] = {"extra": "forbid", "strict": True}

    def to_encodable(self, image: Image.Image) -> Image.Image:
        """`image` in a mode that the format can hold."""
        return image

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """What Pillow's encoder is told."""

    def encode(
        self, frames: Sequence[Image.Image], timing: Timing | None = None, metadata: Mapping[str, bytes] | None = None
    ) -> bytes:
        """The frames (L, RGB or RGBA, without info) as a file. Raise Refusal when the encoder cannot."""
        first, *others = [self.to_encodable(frame) for frame in _in_one_mode(frames)]
        if max(first.size) > self.max_side:
            size = f"{first.width}×{first.height}"
            raise EngineError(
                "rendition_too_large", f"{self.name} holds {self.max_side} pixels a side, not {size}: resize it"
            )
        extra: dict[str, Any] = dict(metadata or {})
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

    def animated(self, timing: Timing) -> dict[str, Any]:
        """What Pillow's encoder is told of an animation."""
        return {"duration": timing.durations, "loop": timing.loop}


def _in_one_mode(frames: Sequence[Image.Image]) -> list[Image.Image]:
    """The frames as pixels and nothing else, in one mode that holds them all.

    Encoders take no animation of which only a part is see-through, and look for more frames in a file that is open.
    """
    from PIL import Image

    modes = {frame.mode for frame in frames}
    mode = "RGBA" if "RGBA" in modes else "RGB"
    if len(modes) > 1:
        return [frame.convert(mode) for frame in frames]
    return [frame if type(frame) is Image.Image else frame.copy() for frame in frames]
