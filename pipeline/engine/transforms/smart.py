"""Smart crop: keep heads whole, and keep what a viewer looks at.

Where the session has a face detector, it finds the heads. Otherwise, and where it finds none (in drawings, for
instance), they are found by the color and the shape of skin.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace

from .. import pil
from ..base import TransformContext
from ..image_view import ImageView, Size
from .composition import FACE_WEIGHT, HEAD_WEIGHT, Span, best_start
from .faces import DETECTION_SIDE_PIXELS, find_faces
from .heads import Head, find_heads
from .saliency import ANALYSIS_SIDE_PIXELS, color_maps, energy_map, profile

MIN_DIFFERENCE = 1.5
"""Least difference between the lightest and the heaviest column (or row). Below it, the image is even."""

SURE = 0.5
"""Certainty from which a head decides whether the crop can hold all."""

TRIM = 0.14
"""Margin of a head on each side, as a fraction of its width or height."""


@dataclass(frozen=True)
class _Analysis:
    """The energy of each pixel, the heads, and whether a face detector found them."""

    energy: pil.Image.Image
    heads: list[Head]
    detected: bool


def smart_offset(view: ImageView, part: Size, context: TransformContext) -> tuple[float, float] | None:
    """Return the offset of the best crop to `part` (see `crop_offset`); None for an even image."""
    found = _analyze(view, context)
    shares: list[float | None] = []
    for axis in (0, 1):
        kept = part[axis] / view.size[axis]
        if kept >= 1:
            shares.append(None)
            continue
        weights = profile(found.energy, axis)
        if not found.heads and max(weights) - min(weights) < MIN_DIFFERENCE:
            shares.append(None)
            continue
        weight = FACE_WEIGHT if found.detected else HEAD_WEIGHT
        shares.append(best_start(weights, kept, _spans(found.heads, axis, kept), weight, down=axis == 1))
    return _fill(shares)


def face_offset(view: ImageView, part: Size, context: TransformContext) -> tuple[float, float] | None:
    """Return the offset that has the detected faces in the middle; None without a detector or a face."""
    found = _analyze(view, context)
    if not found.detected:
        return None
    shares: list[float | None] = []
    for axis in (0, 1):
        kept = part[axis] / view.size[axis]
        spans = _spans(found.heads, axis, kept)
        even = [1.0] * found.energy.size[axis]
        shares.append(best_start(even, kept, spans, FACE_WEIGHT, down=axis == 1, slack=0) if kept < 1 else None)
    return _fill(shares)


def _fill(shares: list[float | None]) -> tuple[float, float] | None:
    """Center the crop on an axis without a choice. Return None when there is none on either axis."""
    if all(share is None for share in shares):
        return None
    across, down = (0.5 if share is None else share for share in shares)
    return across, down


def _spans(heads: list[Head], axis: int, kept: float) -> list[Span]:
    """Return the extents of the heads on an axis, without their margins when the crop cannot hold all with them."""
    edges = [(head.left, head.right) if axis == 0 else (head.top, head.bottom) for head in heads]
    sure = [edge for edge, head in zip(edges, heads, strict=True) if head.certainty >= SURE]
    if sure and max(end for _, end in sure) - min(start for start, _ in sure) > kept:
        edges = [(start + TRIM * (end - start), end - TRIM * (end - start)) for start, end in edges]
    return [
        Span(max(0.0, start), min(1.0, end), head.certainty) for (start, end), head in zip(edges, heads, strict=True)
    ]


def _analyze(view: ImageView, context: TransformContext) -> _Analysis:
    """Analyze the view, once for all renditions that are cropped from the same pixels."""
    base = view.levels[0].image
    key = ("analysis", id(base), view.box)
    known: tuple[weakref.ref[pil.Image.Image], _Analysis] | None = context.decisions.get(key)
    if known is None or known[0]() is not base:
        known = context.decisions[key] = (weakref.ref(base), _analyze_pixels(view))
    return known[1]


def _analyze_pixels(view: ImageView) -> _Analysis:
    """Analyze a thumbnail of the view."""
    large = view.thumbnail(DETECTION_SIDE_PIXELS).convert("RGB")
    factor = min(1.0, ANALYSIS_SIDE_PIXELS / max(large.size))
    width, height = (max(1, round(side * factor)) for side in large.size)
    small = large.resize((width, height), pil.Image.Resampling.BOX)
    maps = color_maps(small)
    faces = find_faces(large) or []
    heads = find_heads(small, maps)
    if faces:
        # A detector may miss people in profile, and in drawings. Blobs of skin count too, but less than faces.
        weaker = [replace(head, certainty=head.certainty * 0.4) for head in heads]
        heads = [head for head in weaker if head.certainty > 0.3 and not any(_overlap(head, face) for face in faces)]
    return _Analysis(energy_map(small, maps), [*faces, *heads], bool(faces))


def _overlap(one: Head, other: Head) -> bool:
    """Return True when two heads share pixels."""
    across = min(one.right, other.right) > max(one.left, other.left)
    return across and min(one.bottom, other.bottom) > max(one.top, other.top)
