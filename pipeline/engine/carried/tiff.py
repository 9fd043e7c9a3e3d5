"""TIFF: find information in the tags of its directories."""

from __future__ import annotations

from ..containers.tiff import Directory, walk_directories
from ..containers.tiff_tags import BITS, EXTRA_SAMPLES, NEW_SUBFILE_TYPE, PHOTOMETRIC, SAMPLES, SUBFILE_TYPE
from .findings import MAX_BLOCK_BYTES, Findings
from .iim import iim_of_resources

XMP, IIM, RESOURCES, LAYERS, C2PA = 700, 33723, 34377, 37724, 52545

_NAMES = {LAYERS: "layers", 33550: "georeference", 33922: "georeference", 34264: "georeference"}
_COLOR_CHANNELS = {0: 1, 1: 1, 2: 3, 3: 1, 4: 1, 5: 4, 6: 3, 8: 3, 9: 3, 10: 3}
"""Number of color channels by PhotometricInterpretation."""


def find_in_tiff(body: memoryview, findings: Findings) -> None:
    """Find information in a TIFF file: in the tags of the selected page, and its other pages."""
    pages = 0
    for number, page in enumerate(walk_directories(body)):
        # Bit 0: a reduced copy of another page. Bit 2: a transparency mask.
        pages += not page.first(NEW_SUBFILE_TYPE) & 5 and page.first(SUBFILE_TYPE, 1) != 2
        if pages > 1:
            findings.names.add("other_images")
        if number == findings.index:
            _find_in_fields(page, findings)
        if number >= findings.index and pages > 1:
            return


def _find_in_fields(page: Directory, findings: Findings) -> None:
    """Find information in the fields of the image."""
    findings.names.update(name for tag, name in _NAMES.items() if tag in page.fields)
    if max(page.numbers(BITS), default=1) > 8:
        findings.names.add("color_precision")
    samples = page.first(SAMPLES, 1)
    colors = _COLOR_CHANNELS.get(page.first(PHOTOMETRIC, -1), samples)
    alpha = any(kind in (1, 2) for kind in page.numbers(EXTRA_SAMPLES))
    if samples - colors - alpha > 0:
        findings.names.add("extra_channels")
    findings.add_packet(page.data(XMP, MAX_BLOCK_BYTES))
    if C2PA in page.fields:
        findings.add_manifests(page.data(C2PA, MAX_BLOCK_BYTES))
    resources = iim_of_resources(page.data(RESOURCES, MAX_BLOCK_BYTES))
    findings.add_iim(page.data(IIM, MAX_BLOCK_BYTES), *resources)
