"""Frame: one picture out of several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from .base import Outlook, Scene, Transform
from .constraints import Between, Help
from .picture import Picture, Size


@dataclass(frozen=True)
class Frame(Transform):
    """Pick one frame of an animation, or one page of a TIFF. Only at the start of a recipe."""

    name: ClassVar[str] = "frame"
    example: ClassVar[dict[str, Any]] = {"index": 0}
    shorthand: ClassVar[str | None] = "index"

    index: Annotated[Annotated[int, Between(0, 100_000)], Help("0 is the first")]

    def outlook(self, size: Size) -> Outlook:
        """Nothing changes: the engine decoded that frame."""
        return Outlook(size)

    def apply(self, picture: Picture, scene: Scene) -> Picture:
        """The picture as it is."""
        del scene
        return picture
