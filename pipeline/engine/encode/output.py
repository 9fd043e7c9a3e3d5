"""Options of all renditions, for every format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from ..constraints import Help, ItemCount, Range

MetadataKind = Literal["icc", "copyright", "exif", "location", "xmp_rights", "gain_map"]


@dataclass(frozen=True)
class Output:
    """Size limit, metadata, animation and computed values of a rendition."""

    revisions: ClassVar[dict[str, int]] = {
        "max_bytes": 2,
        "keep": 1,
        "ai_label": 1,
        "animation": 1,
        "if_larger": 2,
        "placeholder": 1,
        "dominant_color": 1,
    }
    """Revision of each option. Raise one when the option makes other bytes or metadata than before."""

    max_bytes: Annotated[
        Annotated[int, Range(200, 1_000_000_000)] | None,
        Help("largest file in bytes: lower the quality until the file fits, in at most 6 encodes"),
    ] = None
    keep: Annotated[
        Annotated[list[MetadataKind], ItemCount(0, 6)],
        Help(
            "metadata to keep: icc (the color profile; gray files need none), copyright, exif (description and camera "
            "settings, without location), location, xmp_rights (rights and credits in XMP or IPTC-IIM), gain_map (the "
            "HDR gain map, from JPEG to JPEG)"
        ),
    ] = field(default_factory=list)
    ai_label: Annotated[
        Literal["keep", "drop"],
        Help(
            "the label of AI-generated content (IPTC DigitalSourceType): keep: in every format that can hold XMP (all "
            "but GIF); drop: omit it"
        ),
    ] = "keep"
    animation: Annotated[
        Literal["keep", "first", "reject"],
        Help("keep: all frames, if the format can; first: the first frame; reject: fail for animated sources"),
    ] = "keep"
    if_larger: Annotated[
        Literal["keep", "source"],
        Help("source: use the source's own file, with no other metadata, if no pixel changed and it is smaller"),
    ] = "keep"
    placeholder: Annotated[
        Literal["thumbhash", "blurhash"] | None,
        Help("a tiny preview of the image, as text in the blob's metadata"),
    ] = None
    dominant_color: Annotated[bool, Help("true: store the prevailing color as #rrggbb in the blob's metadata")] = False
