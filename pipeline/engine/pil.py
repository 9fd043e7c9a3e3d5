"""Pillow's modules, each imported at its first use: the host imports the parameter classes, and has no Pillow."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

__all__ = [
    "Image",
    "ImageChops",
    "ImageCms",
    "ImageDraw",
    "ImageEnhance",
    "ImageFile",
    "ImageFilter",
    "ImageFont",
    "ImageMath",
    "ImageOps",
    "JpegImagePlugin",
    "PngImagePlugin",
    "features",
]

if TYPE_CHECKING:
    from PIL import (
        Image,
        ImageChops,
        ImageCms,
        ImageDraw,
        ImageEnhance,
        ImageFile,
        ImageFilter,
        ImageFont,
        ImageMath,
        ImageOps,
        JpegImagePlugin,
        PngImagePlugin,
        features,
    )


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(name)
    return import_module(f"PIL.{name}")
