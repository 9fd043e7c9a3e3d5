"""What every transform is: named, typed parameters, and what they do to a picture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from .image_view import ImageView, Size

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T")


@dataclass
class TransformContext:
    """What transforms may know beyond their parameters.

    `focal` is the point of interest as fractions of the picture in view, `assets` are the files of the pictures and
    fonts that a recipe names. `moving` says that frames of an animation come one after another; `decided` keeps what a
    step chose on an earlier one, so that the later frames follow it instead of trembling.
    """

    max_pixels: int
    focal: tuple[float, float] | None = None
    assets: dict[str, Path] = field(default_factory=dict)
    decisions: dict[object, Any] = field(default_factory=dict)
    animated: bool = False

    def decide_once(self, step: object, choose: Callable[[], T]) -> T:
        """What `choose` says, asked once per step: `step` is anything that stands for it."""
        if step not in self.decisions:
            self.decisions[step] = choose()
        chosen: T = self.decisions[step]
        return chosen


@dataclass(frozen=True)
class SizeForecast:
    """How a step will change a picture, told from its size alone. `resampled` steps need no more than that size."""

    size: Size
    resampled: bool = False


@dataclass(frozen=True)
class Transform(ABC):
    """One named operation. Subclasses are frozen dataclasses whose fields are the parameters.

    `name` is the word in recipes and `example` shows parameters that work. The first line of the docstring goes into
    the documentation.
    """

    name: ClassVar[str]
    example: ClassVar[dict[str, Any]]
    revision: ClassVar[int] = 1
    """Grows when the transform makes other pixels of the same image: recipes that use it become due."""
    shorthand: ClassVar[str | None] = None
    """The parameter that may be written alone: `blur: 4` for `blur: {radius: 4}`."""
    assets: ClassVar[tuple[str, ...]] = ()
    """The parameters that name a picture or a font in the assets."""
    __pydantic_config__: ClassVar[Any] = {"extra": "forbid", "strict": True}

    @abstractmethod
    def apply(self, view: ImageView, context: TransformContext) -> ImageView:
        """The picture after this step."""

    def forecast(self, size: Size) -> SizeForecast | None:
        """What comes out of a picture of `size`; None when it takes every pixel to know, or to do it right."""
        del size
        return None

    def needed_box(self, size: Size) -> tuple[int, int, int, int] | None:
        """The part (left, top, right, bottom) of a picture of `size` that this step needs; None for all of it."""
        del size
        return None


class PixelTransform(Transform):
    """A transform that works on the pixels in view at full size."""

    def apply(self, view: ImageView, context: TransformContext) -> ImageView:
        """The picture with its pixels changed."""
        return ImageView.from_image(self.transform_pixels(view.copy_pixels(), context))

    @abstractmethod
    def transform_pixels(self, image: Image.Image, context: TransformContext) -> Image.Image:
        """The pixels after this step. `image` is L, RGB or RGBA, with no info, and may be changed."""
