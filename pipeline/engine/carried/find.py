"""Find what a source carries besides its pixels. Nothing is decoded, and no damage fails the job."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import BinaryIO

from .. import pil
from ..containers.file_view import view_of
from ..information import Information
from .boxes import find_in_boxes
from .c2pa import label_of_manifest
from .findings import Findings
from .gif import find_in_gif
from .jpeg import find_in_jpeg
from .png import find_in_png
from .properties import read_properties
from .tiff import find_in_tiff
from .webp import find_in_webp

_FINDERS: dict[str, Callable[[memoryview, Findings], None]] = {
    "JPEG": find_in_jpeg,
    "PNG": find_in_png,
    "WEBP": find_in_webp,
    "GIF": find_in_gif,
    "TIFF": find_in_tiff,
    "AVIF": find_in_boxes,
    "HEIF": find_in_boxes,
}

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
            _FINDERS[found](view_of(stream), findings)
    if found in _XMP_OF_DECODER:
        findings.add_packet(image.info.get("xmp"))
    information = read_properties(findings.packets, findings.iim, label_of_manifest(findings.manifests))
    return replace(information, names=information.names | findings.names)
