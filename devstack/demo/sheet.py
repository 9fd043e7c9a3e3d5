"""The contact sheet of the demo: one row per job, with the photo and its renditions."""

from __future__ import annotations

from pathlib import Path

from devstack.demo.jobs import Job
from pipeline.cli import sheet
from pipeline.cli.sheet import Cell, size

__all__ = ["draw", "size"]


def draw(jobs: list[Job], target: Path) -> None:
    """Write the contact sheet."""
    sheet.draw([_row(job) for job in jobs], target)


def _row(job: Job) -> list[Cell]:
    source = Cell(job.photo.path, job.photo.name, f"before · {size(job.photo.size)}")
    renditions = {each["name"]: each for each in (job.entry.renditions if job.entry else [])}
    return [source, *(_rendition_cell(renditions[name], path) for name, path in job.files.items())]


def _rendition_cell(rendition: dict[str, object], path: Path) -> Cell:
    detail = f"{rendition['width']} x {rendition['height']} {rendition['format']} · {size(path.stat().st_size)}"
    return Cell(path, str(rendition["name"]), detail)
