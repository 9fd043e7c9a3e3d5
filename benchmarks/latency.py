"""Latency of one image on the idle, warm stack: from the start of its job to its rendition.

The time until the host's scan finds the blob is not included: on Azure an event replaces the scan.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob.aio import BlobServiceClient, ContainerClient

from benchmarks import bare
from benchmarks.figures import Scale
from benchmarks.table import Row, at_most, below
from benchmarks.testbed import RECIPES, photo
from devstack import stack
from pipeline.recipes import load_recipes
from pipeline.services import Services
from pipeline.settings import Settings
from pipeline.storage.keys import JobKey

OVERHEAD_MS = 120


async def latency(scale: Scale) -> list[Row]:
    """Measure one JPEG of 200 KB with a crop, repeatedly, with pauses in between."""
    data, count = photo(900, 675), max(10, round(100 * scale.size))
    with TemporaryDirectory(prefix="benchmark-") as folder:
        file = _files(Path(folder), data)
        alone = [_bare(file) for _ in range(10)]
        ours = await _through_stack(Path(folder, "recipes.yaml"), data, count)
    p50, p99 = statistics.median(ours), sorted(ours)[round(0.99 * (len(ours) - 1))]
    if min(ours) <= 0:
        raise SystemExit("a rendition was seen before its job began: the clocks differ, nothing is measured")
    pillow = statistics.median(alone)
    return [
        below(
            f"6 latency p50 above Pillow's own {pillow:.0f} ms",
            p50 - pillow,
            "ms",
            OVERHEAD_MS,
        ),
        at_most("6 latency p99 beside p50", p99, p50, "ms", 3),
    ]


def _files(folder: Path, data: bytes) -> Path:
    file = folder / "photo.jpg"
    file.write_bytes(data)
    (folder / "recipes.yaml").write_text(RECIPES)
    return file


def _bare(file: Path) -> float:
    started = time.perf_counter()
    bare.renditions(file, "light", range(1))
    return (time.perf_counter() - started) * 1000


async def _through_stack(recipes: Path, data: bytes, count: int) -> list[float]:
    os.environ["PIPELINE_RECIPES"] = str(recipes)
    async with stack.running(stack.StackOptions(data=None), lambda *_: None) as running:
        environ = {**running.settings, "PIPELINE_RECIPES": str(recipes)}
        loaded = Settings.load(environ)
        services = Services.open(loaded, load_recipes(loaded), environ)
        async with BlobServiceClient.from_connection_string(environ["IMAGES"]) as blobs:
            source, output = blobs.get_container_client("input"), blobs.get_container_client("output")
            for number in range(3):
                await _one(services, source, output, f"light/warm-{number}.jpg", data)
            times = [await _one(services, source, output, f"light/{number}.jpg", data) for number in range(count)]
        await services.close()
    return times


async def _one(services: Services, source: ContainerClient, output: ContainerClient, name: str, data: bytes) -> float:
    """Return the milliseconds from the start of a job until a client can read its rendition."""
    recipe = services.recipes.get("light")
    rendition = output.get_blob_client(recipe.output_path(recipe.renditions[0], name))
    await source.upload_blob(name, data)
    while True:
        try:
            await rendition.get_blob_properties()
            break
        except ResourceNotFoundError:
            await asyncio.sleep(0.003)
    seen, entry = time.time(), None
    while entry is None or entry.state != "done":
        entry = await services.ledger.get(JobKey.of(recipe.name, "input", name))
    await asyncio.sleep(0.1)
    return float((seen - entry.report["began"]) * 1000)
