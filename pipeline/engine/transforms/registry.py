"""Registry: all transforms by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module

from ..base import Transform
from ..errors import EngineError
from ..protocol import Step

_CLASSES = {
    "frame": "select_frame.Frame",
    "auto_orient": "auto_orient.AutoOrient",
    "to_srgb": "to_srgb.ToSrgb",
    "crop": "crop.Crop",
    "resize": "resize.Resize",
    "pad": "border.Pad",
    "border": "border.Border",
    "trim": "trim.Trim",
    "rotate": "rotate.Rotate",
    "flip": "rotate.Flip",
    "grayscale": "color.Grayscale",
    "flatten": "color.Flatten",
    "autocontrast": "tone.Autocontrast",
    "equalize": "tone.Equalize",
    "brightness": "tone.Brightness",
    "contrast": "tone.Contrast",
    "saturation": "tone.Saturation",
    "gamma": "tone.Gamma",
    "tint": "color.Tint",
    "duotone": "color.Duotone",
    "quantize": "color.Quantize",
    "blur": "sharpen.Blur",
    "sharpen": "sharpen.Sharpen",
    "unsharp": "sharpen.Unsharp",
    "pixelate": "sharpen.Pixelate",
    "rounded_corners": "shapes.RoundedCorners",
    "circle": "shapes.Circle",
    "watermark": "layers.Watermark",
    "overlay": "layers.Overlay",
    "text": "text.TextTransform",
    "code": "code.Code",
}
"""Module and class of each transform by name, in the order of the docs."""


class _Registry(Mapping[str, type[Transform]]):
    """Transforms by name, each imported at its first use: sessions compile what they import, and need few of them."""

    def __getitem__(self, name: str) -> type[Transform]:
        """Import a transform."""
        module, _, kind = _CLASSES[name].partition(".")
        found: type[Transform] = getattr(import_module(f".{module}", __package__), kind)
        return found

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(_CLASSES)

    def __len__(self) -> int:
        """Count the transforms."""
        return len(_CLASSES)

    def __contains__(self, name: object) -> bool:
        """Return True for the name of a transform."""
        return name in _CLASSES


TRANSFORMS: Mapping[str, type[Transform]] = _Registry()

FIRST = ("frame", "auto_orient", "to_srgb")
"""Transforms applied to every source before all others, in this order. A recipe may name them at its start only."""

ALWAYS = ("auto_orient", "to_srgb")
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
