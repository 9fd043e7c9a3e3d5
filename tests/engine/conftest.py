"""Fixtures: a session's directory, and helpers that run a job in it."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any, Protocol

import pytest
from PIL import Image

from pipeline.engine.execution import jobs
from pipeline.engine.protocol import VERSION, Job, Limits, RenditionJob, Report, Step

FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "BMP"]
KEY = "0123456789abcdef" * 2
LIMITS = Limits(max_pixels=100_000_000, max_frames=500, max_rendition_bytes=50_000_000, max_rendition_pixels=50_000_000)

BACK = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
"""The transposition that makes an upright image into one that needs each orientation."""


def steps(*named: tuple[str, dict[str, Any]]) -> list[Step]:
    """Build transforms as in a job document."""
    return [Step(name=name, params=params) for name, params in named]


def rendition(name: str = "out", kind: str = "png", *named: tuple[str, dict[str, Any]], **options: Any) -> RenditionJob:
    """Build one rendition of a job; its file has its name."""
    return RenditionJob(name=name, file=name, format=kind, options=options, transforms=steps(*named))


def job(*renditions: RenditionJob, shared: list[Step] | None = None, **changes: Any) -> Job:
    """Build a job document with generous limits."""
    limits = Limits(**{**LIMITS, **{key: changes.pop(key) for key in list(changes) if key in LIMITS}})  # type: ignore[typeddict-item]
    document = Job(
        version=VERSION,
        source="in.bin",
        report="report.json",
        remove=[],
        formats=FORMATS,
        limits=limits,
        transforms=shared or [],
        renditions=list(renditions or [rendition()]),
    )
    return Job(**{**document, **changes})  # type: ignore[typeddict-item]


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Encode an image to bytes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def opened(file: Path) -> Image.Image:
    """Decode an image and close its file."""
    image = Image.open(io.BytesIO(file.read_bytes()))
    image.load()
    return image


def gradient(width: int, height: int) -> Image.Image:
    """Draw a gradient in which each pixel differs: red grows to the right, green downwards, blue in both directions."""
    across = Image.linear_gradient("L").rotate(90).resize((width, height))
    down = Image.linear_gradient("L").resize((width, height))
    return Image.merge("RGB", (across, down, Image.blend(across, down, 0.5)))


class Run(Protocol):
    """Function that runs a job on a source and returns the report."""

    def __call__(self, body: bytes, document: Job | None = None) -> Report: ...


class Made(Protocol):
    """Function that runs a job, requires success, and opens the rendition `out`."""

    def __call__(self, source: Image.Image | bytes, document: Job | None = None) -> Image.Image: ...


def noise(size: tuple[int, int], spread: float) -> Image.Image:
    """Draw gray noise around 128 with a standard deviation of `spread`, the same on every call."""
    body = random.Random(size[0] * 10_007 + size[1]).randbytes(size[0] * size[1])
    # Uniform bytes have a standard deviation of 256 / √12.
    return Image.frombytes("L", size, body).point([round(128 + (v - 127.5) * spread / 73.9) for v in range(256)])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a function that runs a job on a source and returns the report."""

    def _run(body: bytes, document: Job | None = None) -> Report:
        (tmp_path / "in.bin").write_bytes(body)
        return jobs.execute_job(document or job(), tmp_path)

    return _run


@pytest.fixture
def made(run: Run, tmp_path: Path) -> Made:
    """Return a function that runs a job, requires success, and opens the rendition `out`."""

    def _made(source: Image.Image | bytes, document: Job | None = None) -> Image.Image:
        body = source if isinstance(source, bytes) else encoded(source)
        report = run(body, document)
        assert report["failure"] is None
        return opened(tmp_path / "out")

    return _made
