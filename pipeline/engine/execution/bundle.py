"""Bundle of small renditions: one file for several jobs of an execution, so that one call downloads them all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..protocol import RenditionReport, Report

MAX_BUNDLED_RENDITION_BYTES = 256 * 1024
MAX_BUNDLE_BYTES = 4 * 1024 * 1024


def write_bundle(target: Path, reports: list[Report]) -> None:
    """Write the bundle to `target` and set `offset` in the report of each included rendition.

    The separate files stay, so nothing is lost if the bundle is missing or incomplete.
    """
    chosen = list(_small_renditions(reports))
    if len(chosen) < 2:
        return
    with suppress(OSError):
        target.write_bytes(b"".join([(target.parent / made["file"]).read_bytes() for made in chosen]))
        offset = 0
        for made in chosen:
            made["offset"] = offset
            offset += made["size"]


def _small_renditions(reports: list[Report]) -> Iterator[RenditionReport]:
    """Yield the renditions that fit into the bundle."""
    total = 0
    for report in reports:
        for made in report["renditions"]:
            if made["size"] <= MAX_BUNDLED_RENDITION_BYTES and total + made["size"] <= MAX_BUNDLE_BYTES:
                total += made["size"]
                yield made
