"""A finished picture made into the bytes of a rendition, within its limits, and read back."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .failures import Refusal
from .formats import FORMATS, Format
from .picture import Picture, Size
from .protocol import Limits, RenditionJob

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Made:
    """An encoded rendition: `format` by its name in recipes, `extra` for the metadata of the blob."""

    format: str
    body: bytes
    size: Size
    extra: dict[str, str] = field(default_factory=dict)


def make(picture: Picture, rendition: RenditionJob, limits: Limits) -> Made:
    """The rendition as the job describes it. Raise Refusal when it is over a limit or cannot be encoded."""
    _check_pixels(picture.size, rendition["name"], limits)
    kind = _options(rendition)
    image = picture.read()
    body = kind.encode(image)
    _check_bytes(body, rendition["name"], limits)
    verify(body, kind, image)
    return Made(kind.name, body, image.size)


def _options(rendition: RenditionJob) -> Format:
    try:
        return FORMATS[rendition["format"]](**rendition["options"])
    except TypeError as error:
        raise Refusal("bad_job", f"rendition {rendition['name']}: {error}") from error


def _check_pixels(size: Size, name: str, limits: Limits) -> None:
    total, most = size[0] * size[1], limits["max_rendition_pixels"]
    if total > most:
        raise Refusal(
            "rendition_too_large",
            f"rendition {name} is {size[0]}×{size[1]} = {total:,} pixels; the limit is {most:,}: resize it",
        )


def _check_bytes(body: bytes, name: str, limits: Limits) -> None:
    if len(body) > limits["max_rendition_bytes"]:
        raise Refusal(
            "rendition_too_large",
            f"rendition {name} is {len(body):,} bytes; the limit is {limits['max_rendition_bytes']:,}: "
            f"lower its quality or its size",
        )


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
