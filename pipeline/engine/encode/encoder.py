"""Encode a finished image within the limits of its rendition, and verify the result."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

from .. import pil
from ..decode.source import Source, is_supported
from ..errors import EngineError
from ..protocol import Limits
from ..timing import Timing
from ..transforms.to_srgb import srgb_profile
from ..transparency import has_clear_pixels, has_partial_alpha
from . import metadata
from .dropped import list_dropped
from .formats import Auto, Format, Keep
from .output import Output
from .quality_search import find_quality

if TYPE_CHECKING:
    from .gain_map import MapSource


@dataclass(frozen=True)
class EncodedRendition:
    """An encoded rendition: its `format` by the name in recipes, and metadata for the blob in `extra`.

    `dropped` names information of the source that the rendition does not carry over.
    """

    format: str
    body: bytes
    size: tuple[int, int]
    extra: dict[str, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class CollectedMetadata:
    """Metadata of one rendition in one format.

    `blocks` holds the color profile and the EXIF block, `elements` the elements of the XMP packet. `held` and `lost`
    hold names of `encode.dropped`. A step that writes more into the file adds its elements and its name.
    """

    blocks: dict[str, bytes] = field(default_factory=dict)
    elements: list[str] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)

    def arguments(self) -> dict[str, bytes]:
        """Return the blocks to write, by Pillow's names: icc_profile, exif, xmp."""
        if not self.elements:
            return self.blocks
        from ..carried.packet import build_packet

        return {**self.blocks, "xmp": build_packet(self.elements)}


@dataclass(frozen=True)
class EncodeRequest:
    """What to encode: the frames (one, or all of an animation with its timing), the format, the options and the limits.

    `untouched` is true when no transform changed a pixel of the source. `profile` is the color profile of the frames;
    None for sRGB. `gain_map` is the gain map to keep, and `map_file` the encoded one. `metadata` holds the collected
    metadata by the name of the format, so that several encodes collect it once.
    """

    name: str
    frames: Sequence[pil.Image.Image]
    timing: Timing | None
    kind: Format
    output: Output
    limits: Limits
    untouched: bool
    profile: bytes | None = None
    gain_map: MapSource | None = None
    map_file: bytes = b""
    metadata: dict[str, CollectedMetadata] = field(default_factory=dict)


def encode_rendition(request: EncodeRequest, source: Source) -> EncodedRendition:
    """Encode a rendition.

    Raises:
        EngineError: it is over a limit, or cannot be encoded.
    """
    _check_pixels(request)
    if request.gain_map is not None:
        from .gain_map import encode_map

        map_file = encode_map(request.gain_map, request.frames[0], request.output.max_bytes)
        if map_file:
            # The image matters more than its gain map: a limit that both exceed may hold for the image.
            with suppress(EngineError):
                return _encode_rendition(replace(request, map_file=map_file), source)
            request = replace(request, metadata={})
    return _encode_rendition(request, source)


def _encode_rendition(request: EncodeRequest, source: Source) -> EncodedRendition:
    """Encode a rendition, with its gain map if it has one."""
    if request.profile and not _keeps_profile(request):
        request = replace(request, frames=source.in_srgb(request.frames), profile=None)
    kind, body = _encode_within_limit(request, source)
    if request.output.if_larger == "source":
        body = _smaller_source(body, kind, request, source)
    _check_bytes(body, request)
    verify_file(body, kind, request.frames[0])
    return EncodedRendition(
        kind.name, body, request.frames[0].size, _extra(request, source), _dropped(kind, request, source)
    )


def _dropped(kind: Format, request: EncodeRequest, source: Source) -> list[str]:
    """List what the rendition does not carry over."""
    collected = _metadata(kind, request, source)
    lost = source.dropped | collected.lost | _lost_pixels(kind, request, source)
    return list_dropped(source.information.names, lost, collected.held)


def _lost_pixels(kind: Format, request: EncodeRequest, source: Source) -> set[str]:
    """Return the names of frames and transparency that the rendition does not show."""
    animated = request.timing is not None and kind.animates
    lost = {"animation"} if source.animated and not animated else set[str]()
    frames = request.frames if animated else request.frames[:1]
    if (not kind.alpha and any(map(has_clear_pixels, frames))) or (
        kind.name == "gif" and any(map(has_partial_alpha, frames))
    ):
        lost.add("transparency")
    return lost


def _keeps_profile(request: EncodeRequest) -> bool:
    """Return True when the file will hold a color profile."""
    gray = all(frame.mode == "L" for frame in request.frames)
    return bool(request.map_file) or ("icc" in request.output.keep and request.kind.name != "gif" and not gray)


def _profile_for(request: EncodeRequest) -> bytes:
    """Return the color profile to write: the frames' own, if their colors were kept, or sRGB."""
    return request.profile if request.profile and request.frames[0].mode in {"RGB", "RGBA"} else srgb_profile()


def _encode_within_limit(request: EncodeRequest, source: Source) -> tuple[Format, bytes]:
    """Encode within `max_bytes`, without the XMP packet if the file does not fit with it.

    A recipe for tiny files must not fail for the images that have a label. The report says that it was left out.
    """
    try:
        return _encode_as_best_format(request, source)
    except EngineError as error:
        collected = request.metadata.values()
        # A gain map gives way before a label does.
        if error.kind != "max_bytes_impossible" or request.map_file or not any(each.elements for each in collected):
            raise
        for each in collected:
            each.elements.clear()
            each.held.difference_update({"ai_label", "xmp_rights"})
    return _encode_as_best_format(request, source)


def _encode_as_best_format(request: EncodeRequest, source: Source) -> tuple[Format, bytes]:
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
    body = kind.encode(frames, timing, _metadata(kind, request, source).arguments())
    return _with_map(body, request)


def _with_map(body: bytes, request: EncodeRequest) -> bytes:
    """Attach the gain map to the file, if there is one."""
    if not request.map_file:
        return body
    from .gain_map import attach_map

    return attach_map(body, request.map_file)


def _metadata(kind: Format, request: EncodeRequest, source: Source) -> CollectedMetadata:
    """Return the metadata that the rendition keeps in the format `kind`; collect it once."""
    if kind.name not in request.metadata:
        request.metadata[kind.name] = _collect_metadata(kind, request, source)
    return request.metadata[kind.name]


def _collect_metadata(kind: Format, request: EncodeRequest, source: Source) -> CollectedMetadata:
    """Collect the metadata that the rendition keeps in the format `kind`."""
    keep, collected = request.output.keep, CollectedMetadata()
    if "icc" in keep and kind.name != "gif":
        gray = kind.stores_gray and all(frame.mode == "L" for frame in request.frames)
        if not gray:
            collected.blocks["icc_profile"] = _profile_for(request)
    if request.map_file:
        collected.held.add("gain_map")
        if request.profile:
            collected.blocks["icc_profile"] = request.profile
    room = metadata.ExifLimits(
        request.frames[0].size, flat=kind.name == "tiff", max_bytes=0 if kind.name == "gif" else kind.max_exif_bytes
    )
    kept = metadata.kept_exif(source.image, keep, room)
    collected.lost.update(kept.lost)
    if kept.body:
        collected.blocks["exif"] = kept.body
    if kind.holds_xmp:
        _collect_properties(collected, request, source)
    return collected


def _collect_properties(collected: CollectedMetadata, request: EncodeRequest, source: Source) -> None:
    """Collect the elements of the XMP packet: the label of AI-generated content, and rights."""
    properties = source.information
    if properties.label and request.output.ai_label == "keep":
        collected.elements.append(properties.label)
        collected.held.add("ai_label")
    if "xmp_rights" in request.output.keep:
        from ..carried.packet import fit_elements

        elements = fit_elements([*collected.elements, *properties.rights])
        if "xmp_rights" in properties.complete and len(elements) == len(collected.elements) + len(properties.rights):
            collected.held.add("xmp_rights")
        collected.elements[:] = elements


def _smaller_source(body: bytes, kind: Format, request: EncodeRequest, source: Source) -> bytes:
    """Use the source's own file, if it shows the same image and is smaller than the encoded one.

    Of its metadata it gets only what the encoded one has, written anew, and the same gain map.
    """
    as_stored = source.orientation == 1 and source.index == 0 and source.frames == 1 and not source.patched
    as_stored = as_stored and not source.colors.find_hdr()
    if not (as_stored and request.untouched and kind.pillow == source.format and request.timing is None):
        return body
    from . import strip

    try:
        blocks = _metadata(kind, request, source).arguments()
        own = _with_map(strip.strip_metadata(source.read_file(), source.format, blocks), request)
        verify_file(own, kind, request.frames[0])
    except (strip.StripError, EngineError):
        return body
    return min(body, own, key=len)


def _extra(request: EncodeRequest, source: Source) -> dict[str, str]:
    """Compute the values for the blob's metadata."""
    extra = {"patched": "true"} if source.patched else {}
    if not (request.output.dominant_color or request.output.placeholder):
        return extra
    from . import placeholders

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
