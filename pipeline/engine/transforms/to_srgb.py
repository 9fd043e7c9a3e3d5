"""To sRGB: convert colors by a profile, embedded or built from the numbers in the file."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

from .. import pil
from ..base import DecodingTransform
from ..constraints import Help
from ..pixel_modes import to_working

MODES_BY_COLOR_SPACE = {"RGB ": ("RGB",), "GRAY": ("L",), "CMYK": ("CMYK",)}
"""A profile may be applied to pixels of these modes only. LittleCMS would read out of bounds for others."""

MAX_CACHED_PROFILE_BYTES = 64 * 1024
"""Profiles up to this size keep their conversion for later sources of the session."""

_PROFILED_MODES = ("L", "RGB", "RGBA", "CMYK")
_UNPROFILED_MODES = ("LAB", "HSV")
"""Modes that no supported profile describes."""


@dataclass(frozen=True)
class ToSrgb(DecodingTransform, name="to_srgb", example={"intent": "relative"}):
    """Convert the colors to sRGB from the source's color space. Always applied; name it to change its options."""

    intent: Annotated[
        Literal["perceptual", "relative"],
        Help("perceptual compresses colors outside sRGB; relative clips them and keeps the others exact"),
    ] = "perceptual"
    keep_profile: Annotated[
        bool,
        Help(
            "true: keep RGB pixels in the color space of their profile, for renditions that keep icc (wide gamut); "
            "other renditions are converted to sRGB when they are encoded"
        ),
    ] = False

    def convert(self, image: pil.Image.Image, profile: bytes | None) -> tuple[pil.Image.Image, bytes | None]:
        """Convert `image` to a working mode in sRGB. Return the profile that still applies as well."""
        return (self.convert_by(image, profile) if profile else None) or (to_working(image), None)

    def convert_by(self, image: pil.Image.Image, profile: bytes) -> tuple[pil.Image.Image, bytes | None] | None:
        """Convert `image` like `convert`. Return None when the profile is damaged or is not for these pixels."""
        space = _profile_space(profile)
        if space is None or image.mode in _UNPROFILED_MODES:
            return None
        gray = space == "GRAY" and _is_gray(image)
        if image.mode not in _PROFILED_MODES or "transparency" in image.info:
            image = to_working(image)
        if self.keep_profile and space == "RGB " and image.mode in {"RGB", "RGBA"} and is_usable(profile):
            return to_working(image), profile
        converted = self._through_profile(image, profile, space, gray=gray)
        return (to_working(converted), None) if converted else None

    def _through_profile(
        self, image: pil.Image.Image, profile: bytes, space: str, *, gray: bool
    ) -> pil.Image.Image | None:
        """Convert the colors and keep alpha. Return None when the profile is not for these pixels."""
        alpha = image.getchannel("A") if image.mode == "RGBA" else None
        # Gray with alpha, or in a palette, is RGB at this point.
        colors = image.convert("L" if gray else "RGB") if alpha or gray else image
        if colors.mode == "L" and space == "RGB ":
            colors = colors.convert("RGB")
        if colors.mode not in MODES_BY_COLOR_SPACE[space]:
            return None
        converted = self._convert(colors, profile)
        if converted and alpha:
            converted.putalpha(alpha)
        return converted.convert("L") if converted and image.mode == "L" else converted

    def _convert(self, image: pil.Image.Image, profile: bytes) -> pil.Image.Image | None:
        """Convert colors with LittleCMS. Return None for a damaged profile."""
        build = _cached_transform if len(profile) <= MAX_CACHED_PROFILE_BYTES else _build_transform
        try:
            return pil.ImageCms.applyTransform(image, build(profile, image.mode, self.intent))
        except (pil.ImageCms.PyCMSError, OSError, ValueError):
            # Damaged profiles are common and harmless: treat the pixels as sRGB, as browsers do.
            return None


def _build_transform(profile: bytes, mode: str, intent: str) -> pil.ImageCms.ImageCmsTransform:
    """Build the conversion of pixels in `mode` from a profile to sRGB.

    Raises:
        PyCMSError, OSError: the profile is damaged.
    """
    intents = pil.ImageCms.Intent
    return pil.ImageCms.buildTransform(
        pil.ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        pil.ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        renderingIntent=intents.PERCEPTUAL if intent == "perceptual" else intents.RELATIVE_COLORIMETRIC,
        # Keep shadows distinct when the profile's black is deeper than that of sRGB.
        flags=pil.ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


_cached_transform = lru_cache(maxsize=16)(_build_transform)
"""Building takes about 3 ms, as long as the conversion of 150,000 pixels, and most sources share few profiles."""


def is_usable(profile: bytes) -> bool:
    """Return True when LittleCMS can convert colors by the profile."""
    space = _profile_space(profile)
    if space is None:
        return False
    tiny = pil.Image.new(MODES_BY_COLOR_SPACE[space][0], (1, 1))
    return ToSrgb().convert_by(tiny, profile) is not None


def srgb_profile() -> bytes:
    """Return the sRGB profile for renditions that keep one, without its date, which would change the bytes."""
    profile = bytearray(pil.ImageCms.ImageCmsProfile(pil.ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = bytes(12)  # date and time (ICC.1:2022, 7.2.10)
    return bytes(profile)


def _is_gray(image: pil.Image.Image) -> bool:
    """Return True when the pixels are stored as gray: also with alpha, with over 8 bits, or in a gray palette."""
    if image.mode != "P":
        return image.mode in {"1", "L", "LA", "La", "F"} or image.mode.startswith("I")
    levels = image.getpalette("RGB") or []
    return levels[::3] == levels[1::3] == levels[2::3]


def _profile_space(profile: bytes) -> str | None:
    """Read the color space of a profile from its header (ICC.1:2022, 7.2.8); None when it is not supported."""
    if len(profile) < 128 or profile[36:40] != b"acsp":
        return None
    space = profile[16:20].decode("latin-1")
    return space if space in MODES_BY_COLOR_SPACE else None
