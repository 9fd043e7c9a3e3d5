"""The rows of the demo's contact sheet: each photo beside its renditions."""

from __future__ import annotations

from pathlib import Path

from devstack.demo.jobs import Job
from pipeline.cli import sheet
from pipeline.cli.sheet import Cell, size

__all__ = ["draw", "size"]


def draw(jobs: list[Job], target: Path) -> None:
    """Write the sheet."""
    sheet.draw([_row(job) for job in jobs], target)


def _row(job: Job) -> list[Cell]:
    before = Cell(job.photo.path, job.photo.name, f"before · {size(job.photo.size)}")
    renditions = {one["name"]: one for one in (job.entry.renditions if job.entry else [])}
    return [before, *(_after(renditions[name], path) for name, path in job.files.items())]


def _after(rendition: dict[str, object], path: Path) -> Cell:
    about = f"{rendition['width']} x {rendition['height']} {rendition['format']} · {size(path.stat().st_size)}"
    return Cell(path, str(rendition["name"]), about)
