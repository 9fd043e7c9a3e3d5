"""The color space of a source: an embedded profile, or numbers in the file (PNG chunks, boxes of AVIF and HEIF)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, BinaryIO

from .. import pil
from ..color.spaces import BT709, SRGB, SRGB_CURVE, CodePoints, ColorSpace, Curve, Primaries
from ..containers.file_view import view_of
from ..errors import EngineError
from ..pixel_modes import to_working, with_alpha
from ..transforms.to_srgb import ToSrgb, is_usable
from .png_chunks import color_chunks

if TYPE_CHECKING:
    from ..color.samples import Samples
    from .iso_boxes import Properties

Declared = bytes | ColorSpace
"""A profile, or a color space by numbers."""

_CHUNKS = (b"cICP", b"sRGB", b"gAMA", b"cHRM", b"mDCV", b"cLLI")
_MIN_GAMMA, _MAX_GAMMA = 16, 625_000_000
"""Range of gAMA in 1/100,000 (libpng ignores other values as well)."""

_MAX_INTENT = 3
"""Highest rendering intent in an sRGB chunk; a chunk with another value is invalid."""

MAX_STEP = 1.6
"""Decode a 16-bit PNG with all its bits if 8 bits would leave steps larger than this many levels of sRGB."""


@dataclass(frozen=True)
class SourceColors:
    """What a source declares about its colors, in order of precedence. Nothing means sRGB.

    Each entry is used if those before it cannot be: a profile may be damaged, or describe other pixels.
    """

    declared: tuple[Declared, ...] = ()

    @property
    def profile(self) -> bytes | None:
        """The profile that comes first; None when none does."""
        first = self.declared[0] if self.declared else None
        return first if isinstance(first, bytes) else None

    def find_hdr(self) -> ColorSpace | None:
        """Return the color space that counts, if it is PQ or HLG; else None."""
        *others, last = self.declared or (None,)
        if not isinstance(last, ColorSpace) or not last.hdr:
            return None
        return None if any(isinstance(each, bytes) and is_usable(each) for each in others) else last

    def refuse_hdr(self) -> None:
        """Refuse a source in PQ or HLG.

        Raises:
            EngineError: it is one.
        """
        space = self.find_hdr()
        if space:
            raise EngineError(
                "unsupported_variant",
                f"the source is an HDR image ({space.transfer}), and the recipe has hdr: refuse: "
                "convert it to SDR, or set hdr: tone_map",
            )

    def convert(
        self, image: pil.Image.Image, step: ToSrgb, deep: Samples | None
    ) -> tuple[pil.Image.Image, bytes | None]:
        """Convert decoded pixels to a working mode in sRGB. Return the profile that still applies as well.

        `deep` holds the samples of more than 8 bits, if there are any.
        """
        for each in self.declared:
            if isinstance(each, bytes):
                converted = step.convert_by(image, each)
                if converted:
                    return converted
            elif each.hdr or deep:
                return _convert_deep(image, each, step, deep)
            elif each.primaries == BT709 and not step.keep_profile:
                from ..color.samples import reencode_bytes

                return reencode_bytes(to_working(image), each), None  # faster than a profile
            else:
                return step.convert(image, _profile_of(each))
        return to_working(image), None

    def read_deep(self, stream: BinaryIO, image: pil.Image.Image) -> Samples | None:
        """Read samples of more than 8 bits, if they are needed to convert the loaded `image` well."""
        space = self.declared[0] if self.declared else None
        if not isinstance(space, ColorSpace):
            return None
        if not space.hdr and (image.format != "PNG" or _largest_step(space) <= MAX_STEP):
            return None
        from . import deep_samples

        return deep_samples.read(stream, image)


def of_png(stream: BinaryIO, profile: bytes | None) -> SourceColors:
    """Read the chunks cICP, iCCP (`profile`), sRGB, gAMA and cHRM, in this order of precedence (PNG, 4.3)."""
    chunks = color_chunks(view_of(stream), _CHUNKS)
    points, peak = _code_points(chunks.get(b"cICP", b"")), _png_peak(chunks)
    if points and (space := points.space()):
        return SourceColors(_by_numbers(space, peak))
    declared: tuple[Declared, ...] = (profile,) if profile else ()
    srgb = chunks.get(b"sRGB", b"")
    if len(srgb) == 1 and srgb[0] <= _MAX_INTENT:
        return SourceColors(declared)
    last = _from_gamma(chunks.get(b"gAMA", b""), chunks.get(b"cHRM", b"")) or (points.assumed_hdr() if points else None)
    return SourceColors((*declared, *_by_numbers(last, peak)))


def of_boxes(properties: Properties, profile: bytes | None) -> SourceColors:
    """Combine the profile of an AVIF or HEIF source with the numbers in its boxes; the profile takes precedence."""
    points = properties.color
    space = points.space() or points.assumed_hdr() if points else None
    return SourceColors((*((profile,) if profile else ()), *_by_numbers(space, properties.peak)))


def _by_numbers(space: ColorSpace | None, peak: float) -> tuple[Declared, ...]:
    """Return the space as a declaration; none for sRGB itself. `peak` counts for HDR."""
    if space is None or space == SRGB:
        return ()
    if not space.hdr or peak <= 0:
        return (space,)
    from ..color.tone_map import PQ_PEAK

    return (replace(space, peak=min(peak, PQ_PEAK)),)


def _code_points(body: bytes) -> CodePoints | None:
    """Read a cICP chunk (PNG, 11.3.2.6). Samples of a PNG are RGB, so other matrices make it invalid."""
    if len(body) != 4 or body[2] != 0 or body[3] > 1:
        return None
    return CodePoints(body[0], body[1], narrow=body[3] == 0)


def _png_peak(chunks: dict[bytes, bytes]) -> float:
    """Return the luminance of the brightest content in cd/m² from cLLI or mDCV; 0 when unknown."""
    content = chunks.get(b"cLLI", b"")
    peak = int.from_bytes(content[:4], "big") / 10_000 if len(content) == 8 else 0.0
    if peak or b"mDCV" not in chunks:
        return peak
    from .iso_boxes import mastering_peak

    return mastering_peak(chunks[b"mDCV"])


def _from_gamma(gamma: bytes, chromaticities: bytes) -> ColorSpace | None:
    """Build the space of gAMA (a pure power) and cHRM (PNG, 11.3.2.1 and 11.3.2.2); None without both."""
    value = int.from_bytes(gamma, "big") if len(gamma) == 4 else 0
    curve = Curve(100_000 / value) if _MIN_GAMMA <= value <= _MAX_GAMMA else None
    primaries = _primaries(chromaticities)
    if curve is None and primaries is None:
        return None
    return ColorSpace(primaries or BT709, curve or SRGB_CURVE)


def _primaries(body: bytes) -> Primaries | None:
    """Read a cHRM chunk; None when it describes no color space."""
    if len(body) != 32:
        return None
    white, red, green, blue = ((x / 100_000, y / 100_000) for x, y in struct.iter_unpack(">II", body))
    found = Primaries(red, green, blue, white)
    try:
        _profile_of(ColorSpace(found, SRGB_CURVE))
    except (ValueError, ZeroDivisionError, OverflowError):
        return None
    return found


def _convert_deep(
    image: pil.Image.Image, space: ColorSpace, step: ToSrgb, deep: Samples | None
) -> tuple[pil.Image.Image, bytes | None]:
    """Convert HDR, or samples of more than 8 bits; keep alpha."""
    from ..color.samples import Samples, reencode
    from ..color.tone_map import tone_map

    base = to_working(image)
    samples = deep or Samples(base.convert("RGB") if base.mode == "RGBA" else base)
    done = tone_map(samples, space) if space.hdr else reencode(samples, space)
    if base.mode == "RGBA":
        done = with_alpha(done, base)
    plain = space.with_srgb_curve()
    return (done, None) if space.hdr or plain == SRGB else step.convert(done, _profile_of(plain))


def _profile_of(space: ColorSpace) -> bytes:
    """Build the profile of a color space that is not HDR."""
    from ..color.matrix_profile import matrix_profile

    return matrix_profile(space)


@lru_cache(maxsize=16)
def _largest_step(space: ColorSpace) -> float:
    """Return the largest difference of neighboring 8-bit samples, in levels of sRGB."""
    curve = space.transfer
    assert isinstance(curve, Curve)  # noqa: S101 - HDR is handled before
    levels = [255 * SRGB_CURVE.encode(curve.decode(sample / 255)) for sample in range(256)]
    return max(after - before for before, after in pairwise(levels))
