"""Frame: select one frame of an animation or one page of a document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ..base import DecodingTransform
from ..constraints import Help, Range


@dataclass(frozen=True)
class Frame(DecodingTransform, name="frame", example={"index": 0}, shorthand="index"):
    """Select one frame of an animation, or one page of a TIFF. Only at the start of a recipe."""

    index: Annotated[Annotated[int, Range(0, 100_000)], Help("0 is the first")]
