"""Base classes of transforms: named, typed parameters and their effect on an image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypedDict, TypeVar, Unpack

from . import pil
from .image_view import ImageView, Size

T = TypeVar("T")


@dataclass
class TransformContext:
    """Hold what a transform may know beyond its parameters.

    `max_pixels` is the largest result in pixels. `focal` is the point of interest as fractions of the current view,
    from the left and from the top. `assets` maps the names of images and fonts to their files. `animated` is true when
    the frames of an animation follow one another. `decisions` keeps choices made on earlier frames, so that still areas
    do not flicker.
    """

    max_pixels: int
    focal: tuple[float, float] | None = None
    assets: dict[str, Path] = field(default_factory=dict)
    decisions: dict[object, Any] = field(default_factory=dict)
    animated: bool = False

    def decide_once(self, step: object, choose: Callable[[], T]) -> T:
        """Return the result of `choose`, which is called once for each `step` of a job."""
        if step not in self.decisions:
            self.decisions[step] = choose()
        chosen: T = self.decisions[step]
        return chosen


@dataclass(frozen=True)
class SizeForecast:
    """Forecast the size that a step produces from an image of a given size.

    `resampled` steps need no more source pixels than `size` has.
    """

    size: Size
    resampled: bool = False


class TransformFacts(TypedDict, total=False):
    """Facts about a transform, as keywords of its class: `class Blur(PixelTransform, name="blur", shorthand="radius")`.

    `name` is the word in recipes, and `example` holds valid parameters. `shorthand` is the parameter that a recipe may
    write alone: `blur: 4` for `blur: {radius: 4}`. `assets` are the parameters that name an asset, an image or a font.
    """

    name: str
    example: dict[str, Any]
    shorthand: str
    assets: tuple[str, ...]


@dataclass(frozen=True)
class Transform(ABC):
    """Base class of all transforms. Subclasses are frozen dataclasses whose fields are the parameters.

    The first line of a subclass's docstring goes into docs/transforms.md.
    """

    name: ClassVar[str]
    example: ClassVar[dict[str, Any]]
    revision: ClassVar[int] = 1
    """Revision of the transform. Raise it when the transform makes other pixels than before; its recipes become due."""
    shorthand: ClassVar[str | None] = None
    assets: ClassVar[tuple[str, ...]] = ()
    __pydantic_config__: ClassVar[Any] = {"extra": "forbid", "strict": True}

    def __init_subclass__(cls, **facts: Unpack[TransformFacts]) -> None:
        """Set the facts as attributes of the class."""
        for fact, value in facts.items():
            setattr(cls, fact, value)

    @abstractmethod
    def apply(self, view: ImageView, context: TransformContext) -> ImageView:
        """Return the image after this step.

        Raises:
            EngineError: the step cannot apply to this image, or its result is over a limit.
        """

    def forecast(self, size: Size) -> SizeForecast | None:
        """Forecast the result for an image of `size`. Return None when the step needs every source pixel."""
        del size
        return None

    def needed_box(self, size: Size) -> tuple[int, int, int, int] | None:
        """Return the box (left, top, right, bottom in pixels) that this step reads; None for the whole image."""
        del size
        return None


class DecodingTransform(Transform):
    """Base class of transforms that the engine applies when it decodes the source."""

    def forecast(self, size: Size) -> SizeForecast | None:
        """Forecast no change after decoding."""
        return SizeForecast(size)

    def apply(self, view: ImageView, context: TransformContext) -> ImageView:
        """Return the view unchanged."""
        del context
        return view


class PixelTransform(Transform):
    """Base class of transforms that change pixels at full size."""

    def apply(self, view: ImageView, context: TransformContext) -> ImageView:
        """Copy the pixels of the view, and return the transformed copy."""
        return ImageView.from_image(self.transform_pixels(view.copy_pixels(), context))

    @abstractmethod
    def transform_pixels(self, image: pil.Image.Image, context: TransformContext) -> pil.Image.Image:
        """Return the transformed pixels. `image` is L, RGB or RGBA without info, and may be changed in place."""
