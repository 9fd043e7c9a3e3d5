"""Frame: select one frame of an animation or one page of a document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from ..base import DecodingTransform
from ..constraints import Help, Range


@dataclass(frozen=True)
class Frame(DecodingTransform):
    """Select one frame of an animation, or one page of a TIFF. Only at the start of a recipe."""

    name: ClassVar[str] = "frame"
    example: ClassVar[dict[str, Any]] = {"index": 0}
    shorthand: ClassVar[str | None] = "index"

    index: Annotated[Annotated[int, Range(0, 100_000)], Help("0 is the first")]
