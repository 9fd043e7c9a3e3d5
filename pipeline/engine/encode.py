"""A finished picture made into the bytes of a rendition, within its limits, and read back."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

from . import metadata, placeholders, strip
from .errors import Refusal
from .formats import Auto, Format, Keep
from .output import Output
from .protocol import Limits
from .quality_search import best_quality
from .source import Source, supported
from .timing import Timing

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Made:
    """An encoded rendition: `format` by its name in recipes, `extra` for the metadata of the blob."""

    format: str
    body: bytes
    size: tuple[int, int]
    extra: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Order:
    """What is to be encoded: the frames (one, or those of an animation with its timing), how, and within what.

    `untouched` says that no transform changed a pixel of the source.
    """

    name: str
    frames: Sequence[Image.Image]
    timing: Timing | None
    kind: Format
    output: Output
    limits: Limits
    untouched: bool


def make(order: Order, source: Source) -> Made:
    """The rendition as it was ordered. Raise Refusal when it is over a limit or cannot be encoded."""
    _check_pixels(order)
    if not _keeps_profile(order):
        order = replace(order, frames=source.in_srgb(order.frames))
    kind, body = _encoded(order, source)
    if order.output.if_larger == "source":
        body = _smaller_source(body, kind, order, source)
    _check_bytes(body, order)
    verify(body, kind, order.frames[0])
    return Made(kind.name, body, order.frames[0].size, _extra(order, source))


def _keeps_profile(order: Order) -> bool:
    """True when the file will say by a profile what its colours mean."""
    gray = all(frame.mode == "L" for frame in order.frames)
    return "icc" in order.output.keep and order.kind.name != "gif" and not gray


def _encoded(order: Order, source: Source) -> tuple[Format, bytes]:
    """The format that was settled on, and the file within `max_bytes`: where the best cannot be, the next that can."""
    (kind, body), *others = _settled(order, source)
    try:
        return _within(kind, body, order, source)
    except Refusal:
        for kind, body in others:
            with suppress(Refusal):
                return _within(kind, body, order, source)
        raise


def _within(kind: Format, body: bytes | None, order: Order, source: Source) -> tuple[Format, bytes]:
    """The file within `max_bytes`; `body` is the file as it is without such a limit, where it has been made already."""
    most = order.output.max_bytes
    if most is None or (body is not None and len(body) <= most):
        return kind, body or _encode(kind, order, source)
    adjustable = "quality" in {each.name for each in fields(kind)} and not getattr(kind, "lossless", False)
    if not adjustable:
        body = body or _encode(kind, order, source)
        if len(body) > most:
            text = f"{kind.name} has no quality to lower here and is {len(body):,} bytes, more than {most:,}"
            raise Refusal("max_bytes_impossible", f"{text}: {_smaller(kind)}")
        return kind, body
    top: int = kind.quality  # type: ignore[attr-defined]
    _, body = best_quality(lambda quality: _encode(_at(kind, quality), order, source), top, most)
    return kind, body


def _smaller(kind: Format) -> str:
    """What makes a file in that format smaller."""
    if getattr(kind, "lossless", False):
        return "leave lossless out, or make the picture smaller"
    fewer = "say fewer colors, " if "colors" in {each.name for each in fields(kind)} else ""
    return f"{fewer}make the picture smaller, or use webp, avif or jpeg"


def _at(kind: Format, quality: int) -> Format:
    return replace(kind, quality=quality)  # type: ignore[call-arg]


def _settled(order: Order, source: Source) -> Sequence[tuple[Format, bytes | None]]:
    """The format to write; for `auto` all that can hold the picture, with their files, the smallest first."""
    if isinstance(order.kind, Keep):
        return [(order.kind.like(source.format), None)]
    if not isinstance(order.kind, Auto):
        return [(order.kind, None)]
    clear = any(frame.mode == "RGBA" and _has_alpha(frame) for frame in order.frames)
    fit = [kind for kind in order.kind.candidates() if supported(kind.pillow) and (kind.alpha or not clear)]
    fit = [kind for kind in fit if kind.animates or not order.timing] or fit or order.kind.candidates()[:1]
    tried: list[tuple[Format, bytes]] = []
    refused: Refusal | None = None
    for kind in fit:
        try:
            tried.append((kind, _encode(kind, order, source)))
        except Refusal as error:
            refused = refused or error
    if refused and not tried:
        raise refused
    tried.sort(key=lambda pair: len(pair[1]))
    return tried


def _has_alpha(frame: Image.Image) -> bool:
    return frame.getchannel("A").getextrema()[0] != 255


def _encode(kind: Format, order: Order, source: Source) -> bytes:
    timing = order.timing if kind.animates else None
    frames = order.frames if timing else order.frames[:1]
    return kind.encode(frames, timing, _metadata(kind, order, source))


def _metadata(kind: Format, order: Order, source: Source) -> dict[str, bytes]:
    """The metadata that the rendition asked for, as arguments of the encoder."""
    keep = order.output.keep
    extra: dict[str, bytes] = {}
    if "icc" in keep and kind.name != "gif":
        gray = kind.stores_gray and all(frame.mode == "L" for frame in order.frames)
        if not gray:
            extra["icc_profile"] = source.profile_for(order.frames[0].mode)
    room = metadata.Room(order.frames[0].size, flat=kind.name == "tiff", most=kind.most_exif)
    exif = metadata.kept(source.image, keep, room) if set(keep) - {"icc"} else b""
    if exif and kind.name != "gif":
        extra["exif"] = exif
    return extra


def _smaller_source(body: bytes, kind: Format, order: Order, source: Source) -> bytes:
    """The source's own file without its metadata, where that shows the same and is smaller than what was made."""
    same = order.untouched and source.plain() and kind.pillow == source.format and order.timing is None
    if not same or source.frames > 1 or source.patched:
        return body
    try:
        own = strip.stripped(source.body(), source.format)
        verify(own, kind, order.frames[0])
    except (strip.StripError, Refusal):
        return body
    return min(body, own, key=len)


def _extra(order: Order, source: Source) -> dict[str, str]:
    """What the blob's metadata is told about the rendition."""
    extra = {"patched": "true"} if source.patched else {}
    if order.output.dominant_color:
        extra["dominant_color"] = placeholders.dominant_color(order.frames[0])
    if order.output.placeholder == "thumbhash":
        extra["thumbhash"] = placeholders.thumbhash(order.frames[0])
    if order.output.placeholder == "blurhash":
        extra["blurhash"] = placeholders.blurhash(order.frames[0])
    return extra


def _check_pixels(order: Order) -> None:
    width, height = order.frames[0].size
    count, most = len(order.frames), order.limits["max_rendition_pixels"]
    if width * height * count > most:
        size = f"{width}×{height}" + (f" × {count} frames" if count > 1 else "")
        text = f"rendition {order.name} is {size} = {width * height * count:,} pixels; the limit is {most:,}: resize it"
        raise Refusal("rendition_too_large", text)


def _check_bytes(body: bytes, order: Order) -> None:
    most = order.limits["max_rendition_bytes"]
    if len(body) > most:
        text = f"rendition {order.name} is {len(body):,} bytes; the limit is {most:,}: lower its quality or its size"
        raise Refusal("rendition_too_large", text)


def verify(body: bytes, kind: Format, image: Image.Image) -> None:
    """Refusal unless `body` opens as the format and the size that it should be."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(body), formats=[kind.pillow]) as opened:
            size = opened.size
    except Exception as error:
        raise Refusal("encode_failed", f"the {kind.name} that was made does not open: {error}") from error
    if size != image.size:
        raise Refusal("encode_failed", f"the {kind.name} that was made is {size}, and should be {image.size}")
