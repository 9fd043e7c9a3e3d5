"""Encode a finished image within the limits of its rendition, and verify the result."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace

from .. import pil
from ..decode.source import Source, is_supported
from ..errors import EngineError
from ..protocol import Limits
from ..timing import Timing
from . import metadata, placeholders, strip
from .formats import Auto, Format, Keep
from .output import Output
from .quality_search import find_quality


@dataclass(frozen=True)
class EncodedRendition:
    """An encoded rendition: its `format` by the name in recipes, and metadata for the blob in `extra`."""

    format: str
    body: bytes
    size: tuple[int, int]
    extra: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EncodeRequest:
    """What to encode: the frames (one, or all of an animation with its timing), the format, the options and the limits.

    `untouched` is true when no transform changed a pixel of the source.
    """

    name: str
    frames: Sequence[pil.Image.Image]
    timing: Timing | None
    kind: Format
    output: Output
    limits: Limits
    untouched: bool


def encode_rendition(request: EncodeRequest, source: Source) -> EncodedRendition:
    """Encode a rendition.

    Raises:
        EngineError: it is over a limit, or cannot be encoded.
    """
    _check_pixels(request)
    if not _keeps_profile(request):
        request = replace(request, frames=source.in_srgb(request.frames))
    kind, body = _encode_within_limit(request, source)
    if request.output.if_larger == "source":
        body = _smaller_source(body, kind, request, source)
    _check_bytes(body, request)
    verify_file(body, kind, request.frames[0])
    return EncodedRendition(kind.name, body, request.frames[0].size, _extra(request, source))


def _keeps_profile(request: EncodeRequest) -> bool:
    """Return True when the file will hold a color profile."""
    gray = all(frame.mode == "L" for frame in request.frames)
    return "icc" in request.output.keep and request.kind.name != "gif" and not gray


def _encode_within_limit(request: EncodeRequest, source: Source) -> tuple[Format, bytes]:
    """Encode within `max_bytes`. If the best format cannot, use the next one that can."""
    (kind, body), *others = _candidate_formats(request, source)
    try:
        return _limit_bytes(kind, body, request, source)
    except EngineError:
        for kind, body in others:
            with suppress(EngineError):
                return _limit_bytes(kind, body, request, source)
        raise


def _limit_bytes(kind: Format, body: bytes | None, request: EncodeRequest, source: Source) -> tuple[Format, bytes]:
    """Encode within `max_bytes` by lowering the quality. `body` is the file at full quality, if it exists already."""
    most = request.output.max_bytes
    if most is None or (body is not None and len(body) <= most):
        return kind, body or _encode(kind, request, source)
    adjustable = "quality" in {each.name for each in fields(kind)} and not getattr(kind, "lossless", False)
    if not adjustable:
        body = body or _encode(kind, request, source)
        if len(body) > most:
            raise EngineError(
                "max_bytes_impossible",
                f"{kind.name} has {len(body):,} bytes, more than {most:,}, and no quality that could be lowered: "
                + _size_advice(kind),
            )
        return kind, body
    top: int = kind.quality  # type: ignore[attr-defined]
    _, body = find_quality(
        lambda quality: _encode(replace(kind, quality=quality), request, source),  # type: ignore[call-arg]
        top,
        most,
    )
    return kind, body


def _size_advice(kind: Format) -> str:
    """Say what makes a file in that format smaller."""
    if getattr(kind, "lossless", False):
        return "turn lossless off, or resize the image"
    fewer = "use fewer colors, " if "colors" in {each.name for each in fields(kind)} else ""
    return f"{fewer}resize the image, or use webp, avif or jpeg"


def _candidate_formats(request: EncodeRequest, source: Source) -> Sequence[tuple[Format, bytes | None]]:
    """Return the format to write; for `auto` all formats that can hold the image, with their files, smallest first."""
    if isinstance(request.kind, Keep):
        return [(request.kind.format_for(source.format), None)]
    if not isinstance(request.kind, Auto):
        return [(request.kind, None)]
    clear = any(frame.mode == "RGBA" and frame.getchannel("A").getextrema()[0] != 255 for frame in request.frames)
    fit = [kind for kind in request.kind.candidates() if is_supported(kind.pillow) and (kind.alpha or not clear)]
    fit = [kind for kind in fit if kind.animates or not request.timing] or fit or request.kind.candidates()[:1]
    tried: list[tuple[Format, bytes]] = []
    refused: EngineError | None = None
    for kind in fit:
        try:
            tried.append((kind, _encode(kind, request, source)))
        except EngineError as error:
            refused = refused or error
    if refused and not tried:
        raise refused
    tried.sort(key=lambda pair: len(pair[1]))
    return tried


def _encode(kind: Format, request: EncodeRequest, source: Source) -> bytes:
    """Encode the frames in one format."""
    timing = request.timing if kind.animates else None
    frames = request.frames if timing else request.frames[:1]
    return kind.encode(frames, timing, _metadata(kind, request, source))


def _metadata(kind: Format, request: EncodeRequest, source: Source) -> dict[str, bytes]:
    """Collect the metadata that the rendition keeps, as arguments of the encoder."""
    keep = request.output.keep
    extra: dict[str, bytes] = {}
    if "icc" in keep and kind.name != "gif":
        gray = kind.stores_gray and all(frame.mode == "L" for frame in request.frames)
        if not gray:
            extra["icc_profile"] = source.profile_for(request.frames[0].mode)
    room = metadata.ExifLimits(request.frames[0].size, flat=kind.name == "tiff", max_bytes=kind.max_exif_bytes)
    exif = metadata.kept_exif(source.image, keep, room) if set(keep) - {"icc"} else b""
    if exif and kind.name != "gif":
        extra["exif"] = exif
    return extra


def _smaller_source(body: bytes, kind: Format, request: EncodeRequest, source: Source) -> bytes:
    """Use the source's own file without metadata, if it shows the same image and is smaller than the encoded one."""
    as_stored = source.orientation == 1 and source.index == 0 and source.frames == 1 and not source.patched
    as_stored = as_stored and not source.colors.find_hdr()
    if not (as_stored and request.untouched and kind.pillow == source.format and request.timing is None):
        return body
    try:
        own = strip.strip_metadata(source.read_file(), source.format)
        verify_file(own, kind, request.frames[0])
    except (strip.StripError, EngineError):
        return body
    return min(body, own, key=len)


def _extra(request: EncodeRequest, source: Source) -> dict[str, str]:
    """Compute the values for the blob's metadata."""
    extra = {"patched": "true"} if source.patched else {}
    if request.output.dominant_color:
        extra["dominant_color"] = placeholders.dominant_color(request.frames[0])
    if request.output.placeholder == "thumbhash":
        extra["thumbhash"] = placeholders.thumbhash(request.frames[0])
    if request.output.placeholder == "blurhash":
        extra["blurhash"] = placeholders.blurhash(request.frames[0])
    return extra


def _check_pixels(request: EncodeRequest) -> None:
    """Check width × height × frames against the limit."""
    width, height = request.frames[0].size
    count, most = len(request.frames), request.limits["max_rendition_pixels"]
    if width * height * count > most:
        size = f"{width}×{height}" + (f" × {count} frames" if count > 1 else "")
        raise EngineError(
            "rendition_too_large",
            f"rendition {request.name} is {size} = {width * height * count:,} pixels; the limit is {most:,}: resize it",
        )


def _check_bytes(body: bytes, request: EncodeRequest) -> None:
    """Check the size of the file against the limit."""
    most = request.limits["max_rendition_bytes"]
    if len(body) > most:
        raise EngineError(
            "rendition_too_large",
            f"rendition {request.name} is {len(body):,} bytes; the limit is {most:,}: lower its quality or its size",
        )


def verify_file(body: bytes, kind: Format, image: pil.Image.Image) -> None:
    """Check that the header of `body` reads back with the right format and size.

    Raises:
        EngineError: it does not.
    """
    try:
        with pil.Image.open(io.BytesIO(body), formats=[kind.pillow]) as opened:
            size = opened.size
    except Exception as error:
        raise EngineError("encode_failed", f"the encoded {kind.name} cannot be read: {error}") from error
    if size != image.size:
        raise EngineError(
            "encode_failed",
            f"the encoded {kind.name} is {size[0]}×{size[1]} pixels instead of {image.width}×{image.height}",
        )
