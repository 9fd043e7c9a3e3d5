"""Find what a source carries besides its pixels. Nothing is decoded, and no damage fails the job."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from typing import BinaryIO

from .. import pil
from ..containers.file_view import view_of
from ..information import Information
from .findings import Findings

_FINDERS = {
    "JPEG": "jpeg",
    "PNG": "png",
    "WEBP": "webp",
    "GIF": "gif",
    "TIFF": "tiff",
    "AVIF": "boxes",
    "HEIF": "boxes",
}
"""Modules by format, each with a function `find_in_MODULE`. A session imports those of the formats it meets."""

_XMP_OF_DECODER = frozenset({"AVIF", "HEIF"})
"""Formats whose decoders return the XMP packet. Finding it in the boxes takes more code."""


def find_carried(stream: BinaryIO, found: str, image: pil.Image.Image, index: int) -> Information:
    """Find what a source carries.

    Metadata that cannot be parsed counts as carried, but cannot be kept. The stream keeps its position. Call it before
    decoding, which removes metadata from the image.

    Args:
        stream: The source file.
        found: Its format, by Pillow's name.
        image: The opened image, before its pixels are decoded.
        index: The selected frame or page.
    """
    findings = Findings(index=index)
    # Parsers raise many classes on damaged metadata. Everything found before the damage counts.
    with suppress(Exception):
        if found in _FINDERS:
            _finder(_FINDERS[found])(view_of(stream), findings)
    if found in _XMP_OF_DECODER:
        findings.add_packet(image.info.get("xmp"))
    if not (findings.packets or findings.iim or findings.manifests):
        return Information(frozenset(findings.names))
    from .c2pa import label_of_manifest
    from .properties import read_properties

    information = read_properties(findings.packets, findings.iim, label_of_manifest(findings.manifests))
    return replace(information, names=information.names | findings.names)


def _finder(module: str) -> Callable[[memoryview, Findings], None]:
    """Import the finder of a format."""
    finder: Callable[[memoryview, Findings], None] = getattr(
        import_module(f".{module}", __package__), f"find_in_{module}"
    )
    return finder
