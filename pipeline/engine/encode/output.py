"""What any rendition can be told, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from ..constraints import Help, ItemCount, Range

MetadataKind = Literal["icc", "copyright", "exif", "location"]


@dataclass(frozen=True)
class Output:
    """Size, metadata, animation and what is found out about a rendition."""

    revisions: ClassVar[dict[str, int]] = {
        "max_bytes": 1,
        "keep": 1,
        "animation": 1,
        "if_larger": 1,
        "placeholder": 1,
        "dominant_color": 1,
    }
    """Revision of each option: one grows when the option makes other bytes or metadata than before."""

    max_bytes: Annotated[
        Annotated[int, Range(200, 1_000_000_000)] | None,
        Help("lower the quality until the file is no larger, in at most 6 encodes"),
    ] = None
    keep: Annotated[
        Annotated[list[MetadataKind], ItemCount(0, 4)],
        Help(
            "metadata to keep: icc (gray files need none), copyright, exif (what describes the picture and how it was "
            "taken, without location), location. By default none is"
        ),
    ] = field(default_factory=list)
    animation: Annotated[
        Literal["keep", "first", "reject"],
        Help("keep: all frames where the format can; first: the first one; reject: refuse animated sources"),
    ] = "keep"
    if_larger: Annotated[
        Literal["keep", "source"],
        Help("source: when nothing was changed and our file is larger, take the source's own, without its metadata"),
    ] = "keep"
    placeholder: Annotated[
        Literal["thumbhash", "blurhash"] | None,
        Help("a tiny preview, as text in the blob's metadata"),
    ] = None
    dominant_color: Annotated[bool, Help("true: the prevailing color, as #rrggbb in the blob's metadata")] = False
