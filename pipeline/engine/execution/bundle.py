"""The small renditions of jobs that ran together, one after another in one file: fetched by one call for all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..protocol import RenditionReport, Report

MAX_BUNDLED_RENDITION_BYTES = 256 * 1024
MAX_BUNDLE_BYTES = 4 * 1024 * 1024


def write_bundle(target: Path, reports: list[Report]) -> None:
    """Write the file, and note in the reports where in it each rendition begins (`at`).

    They stay where they are as well: should the file not be written or not be whole, nothing is lost.
    """
    chosen = list(_small_renditions(reports))
    if len(chosen) < 2:
        return
    with suppress(OSError):
        target.write_bytes(b"".join([(target.parent / made["file"]).read_bytes() for made in chosen]))
        at = 0
        for made in chosen:
            made["at"] = at
            at += made["size"]


def _small_renditions(reports: list[Report]) -> Iterator[RenditionReport]:
    total = 0
    for report in reports:
        for made in report["renditions"]:
            if made["size"] <= MAX_BUNDLED_RENDITION_BYTES and total + made["size"] <= MAX_BUNDLE_BYTES:
                total += made["size"]
                yield made
