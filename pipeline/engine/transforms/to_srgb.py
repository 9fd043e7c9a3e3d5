"""To sRGB: what the numbers of the pixels mean, made the same for every rendition."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from ..base import SizeForecast, Transform, TransformContext
from ..constraints import Help
from ..image_view import ImageView, Size
from ..pixel_modes import to_working

if TYPE_CHECKING:
    from PIL import Image

MODES_BY_COLOR_SPACE = {"RGB ": ("RGB",), "GRAY": ("L",), "CMYK": ("CMYK",)}
"""A profile may be used on pixels of these modes only. LittleCMS would read past the end of others."""

_PROFILED_MODES = ("L", "RGB", "RGBA", "CMYK")
_UNPROFILED_MODES = ("LAB", "HSV")
"""Pixels that no profile of ours describes."""


@dataclass(frozen=True)
class ToSrgb(Transform):
    """Convert the colors to sRGB by the embedded profile. Always done, right after orientation; name it to tune it."""

    name: ClassVar[str] = "to_srgb"
    example: ClassVar[dict[str, Any]] = {"intent": "relative"}

    intent: Annotated[
        Literal["perceptual", "relative"],
        Help("perceptual squeezes colors that sRGB lacks, relative clips them and keeps the others exact"),
    ] = "perceptual"
    keep_profile: Annotated[
        bool,
        Help(
            "true: leave RGB pixels in the space of their profile, for renditions that keep icc (wide gamut); "
            "renditions that do not keep it become sRGB when they are written"
        ),
    ] = False

    def forecast(self, size: Size) -> SizeForecast:
        """Nothing changes: the engine converted the colors when it decoded the picture."""
        return SizeForecast(size)

    def apply(self, view: ImageView, context: TransformContext) -> ImageView:
        """The picture as it is."""
        del context
        return view

    def convert(self, image: Image.Image, profile: bytes | None) -> tuple[Image.Image, bytes | None]:
        """`image` in a working mode and in sRGB, and the profile that still describes it (None: sRGB)."""
        space = _profile_space(profile) if profile else None
        if profile is None or space is None or image.mode in _UNPROFILED_MODES:
            return to_working(image), None
        gray = space == "GRAY" and _is_gray(image)
        if image.mode not in _PROFILED_MODES or "transparency" in image.info:
            image = to_working(image)
        if self.keep_profile and space == "RGB " and image.mode in {"RGB", "RGBA"}:
            return to_working(image), profile
        converted = self._through_profile(image, profile, space, gray=gray)
        return to_working(converted or image), None

    def _through_profile(self, image: Image.Image, profile: bytes, space: str, *, gray: bool) -> Image.Image | None:
        """The pixels converted, alpha untouched; None when the profile is not one for these pixels."""
        alpha = image.getchannel("A") if image.mode == "RGBA" else None
        # Gray with alpha, or in a palette, has become RGB by now.
        colors = image.convert("L" if gray else "RGB") if alpha or gray else image
        if colors.mode == "L" and space == "RGB ":
            colors = colors.convert("RGB")
        if colors.mode not in MODES_BY_COLOR_SPACE[space]:
            return None
        converted = self._convert(colors, profile)
        if converted and alpha:
            converted.putalpha(alpha)
        return converted.convert("L") if converted and image.mode == "L" else converted

    def _convert(self, image: Image.Image, profile: bytes) -> Image.Image | None:
        from PIL import ImageCms

        intent = ImageCms.Intent.PERCEPTUAL if self.intent == "perceptual" else ImageCms.Intent.RELATIVE_COLORIMETRIC
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            return ImageCms.profileToProfile(
                image,
                source,
                ImageCms.createProfile("sRGB"),
                renderingIntent=intent,
                outputMode="RGB",
                # The shadows stay apart when the profile has a deeper black than sRGB.
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
        except (ImageCms.PyCMSError, OSError, ValueError):
            # A broken profile is common and harmless: the pixels are then taken as sRGB, as browsers do.
            return None


def srgb_profile() -> bytes:
    """The profile of sRGB, for renditions that keep one; without its date, which would change the bytes."""
    from PIL import ImageCms

    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = bytes(12)  # date and time (ICC.1:2022, 7.2.10)
    return bytes(profile)


def _is_gray(image: Image.Image) -> bool:
    """True when the pixels were stored as gray: also with alpha, with more than 8 bits, or in a palette of grays."""
    if image.mode != "P":
        return image.mode in {"1", "L", "LA", "La", "F"} or image.mode.startswith("I")
    levels = image.getpalette("RGB") or []
    return levels[::3] == levels[1::3] == levels[2::3]


def _profile_space(profile: bytes) -> str | None:
    """The color space of a profile from its header (ICC.1:2022, 7.2.8); None when it is none that we convert."""
    if len(profile) < 128 or profile[36:40] != b"acsp":
        return None
    space = profile[16:20].decode("latin-1")
    return space if space in MODES_BY_COLOR_SPACE else None
