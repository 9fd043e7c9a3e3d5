"""Registry: all transforms by name."""

from __future__ import annotations

from collections.abc import Sequence

from ..base import Transform
from ..errors import EngineError
from ..protocol import Step
from .auto_orient import AutoOrient
from .border import Border, Pad
from .code import Code
from .color import Duotone, Flatten, Grayscale, Quantize, Tint
from .crop import Crop
from .layers import Overlay, Watermark
from .resize import Resize
from .rotate import Flip, Rotate
from .select_frame import Frame
from .shapes import Circle, RoundedCorners
from .sharpen import Blur, Pixelate, Sharpen, Unsharp
from .text import TextTransform
from .to_srgb import ToSrgb
from .tone import Autocontrast, Brightness, Contrast, Equalize, Gamma, Saturation
from .trim import Trim

_FIRST = (Frame, AutoOrient, ToSrgb)
_SHAPE = (Crop, Resize, Pad, Border, Trim, Rotate, Flip)
_COLOR = (Grayscale, Flatten, Autocontrast, Equalize, Brightness, Contrast, Saturation, Gamma, Tint, Duotone, Quantize)
_DETAIL = (Blur, Sharpen, Unsharp, Pixelate)
_LAYERS = (RoundedCorners, Circle, Watermark, Overlay, TextTransform, Code)

TRANSFORMS: dict[str, type[Transform]] = {kind.name: kind for kind in (*_FIRST, *_SHAPE, *_COLOR, *_DETAIL, *_LAYERS)}

FIRST = (Frame.name, AutoOrient.name, ToSrgb.name)
"""Transforms applied to every source before all others, in this order. A recipe may name them at its start only."""

ALWAYS = (AutoOrient.name, ToSrgb.name)
"""Transforms applied to every source, also if the recipe does not name them."""


def build_transforms(steps: Sequence[Step]) -> list[Transform]:
    """Create the transforms that the steps of a job name.

    Raises:
        EngineError: this engine does not know a transform or a parameter.
    """
    return [_build_transform(step) for step in steps]


def _build_transform(step: Step) -> Transform:
    """Create one transform."""
    kind = TRANSFORMS.get(step["name"])
    if kind is None:
        raise EngineError("bad_job", f"this engine has no transform {step['name']!r}")
    try:
        return kind(**step["params"])
    except (TypeError, ValueError) as error:
        raise EngineError("bad_job", f"{step['name']}: {error}") from error
