"""Jobs that lead hostile images through every part of the engine, and a check of their results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.engine.errors import KINDS
from pipeline.engine.protocol import VERSION, Job, Limits, RenditionJob, Report, Step

LIMITS = Limits(max_pixels=4_000_000, max_frames=60, max_rendition_bytes=20_000_000, max_rendition_pixels=4_000_000)
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "BMP", "HEIF"]


def _rendition(number: int, kind: str, *steps: Step, output: dict[str, Any] | None = None) -> RenditionJob:
    return RenditionJob(
        name=f"r{number}", file=f"out-{number}", format=kind, options={}, transforms=list(steps), output=output or {}
    )


def _job(*renditions: RenditionJob, shared: tuple[Step, ...] = (), **more: Any) -> Job:
    document = Job(
        version=VERSION,
        source="in.bin",
        report="report.json",
        remove=[],
        formats=FORMATS,
        limits=LIMITS,
        transforms=list(shared),
        renditions=list(renditions),
    )
    return Job(**{**document, **more})  # type: ignore[typeddict-item]


_SMALL = Step(name="resize", params={"width": 20})
_SQUARE = Step(name="resize", params={"width": 16, "height": 16, "mode": "cover"})
_KEEP = {
    "keep": ["icc", "copyright", "exif", "location", "xmp_rights", "gain_map"],
    "placeholder": "thumbhash",
    "dominant_color": True,
}

JOBS: tuple[Job, ...] = (
    _job(_rendition(0, "webp", _SMALL), _rendition(1, "jpeg", _SQUARE)),
    _job(_rendition(0, "auto", output={**_KEEP, "if_larger": "source"})),
    _job(_rendition(0, "png", _SMALL, output=_KEEP), _rendition(1, "gif"), on_truncated="patch"),
    _job(
        _rendition(0, "jpeg", output={"keep": ["icc", "exif"], "max_bytes": 1200}),
        shared=(Step(name="crop", params={"aspect": "1:1", "gravity": "smart"}),),
    ),
    _job(_rendition(0, "keep", _SMALL, output={"animation": "first", "keep": ["icc"]})),
)
"""Plain job; all metadata kept; animation and patched file; smart crop with a size limit; source format."""

MAY_FAIL = {"max_bytes_impossible", "crop_outside", "rendition_too_large"}
"""Kinds of failures that a valid source may cause in these jobs."""


def violation(report: Report, job: Job, folder: Path) -> str:
    """Describe a wrong result. Empty when the engine made all renditions, or refused and left no file."""
    names = {each.name for each in folder.iterdir()}
    failure = report["failure"]
    if failure is None:
        expected = {rendition["file"] for rendition in job["renditions"]}
        return "" if names == expected else f"files: {sorted(names)}"
    if failure["kind"] not in MAY_FAIL and KINDS[failure["kind"]].about != "source":
        return f"{failure['kind']}: {failure['message']}"
    return f"left behind: {sorted(names)}" if names else ""
