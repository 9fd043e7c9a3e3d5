"""What the figures are measured on: an emulated storage account, a session pool, photos in a container, workers."""

from __future__ import annotations

import asyncio
import io
import json
import os
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azure.storage.blob.aio import BlobServiceClient, ContainerClient
from PIL import Image, ImageChops

from devstack import azurite, subprocesses
from devstack.demo.photos import sample_photos
from devstack.state import ROOT

# What `light` makes is what the naive client's plain call makes: a baseline JPEG.
RECIPES = """
recipes:
  heavy:
    match: {include: ["heavy/**"]}
    renditions:
      large: {format: webp, quality: 80, transforms: [{resize: {width: 1600}}]}
      medium: {format: webp, quality: 80, transforms: [{resize: {width: 800}}]}
      small: {format: webp, quality: 80, transforms: [{resize: {width: 400}}]}
  light:
    match: {include: ["light/**"]}
    transforms: [{crop: {box: [50, 0, 350, 300]}}]
    renditions:
      crop: {format: jpeg, quality: 80, progressive: false, optimize: false}
"""
RENDITIONS = {"heavy": 3, "light": 1}


def photo(width: int, height: int, quality: int = 88) -> bytes:
    """A photo with the grain of a camera, as JPEG."""
    with Image.open(sample_photos()[0].path) as small:
        large = small.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    grain = Image.merge("RGB", [Image.effect_noise(large.size, 8)] * 3)
    packed = io.BytesIO()
    ImageChops.add(large, grain, scale=1, offset=-128).save(packed, "JPEG", quality=quality)
    return packed.getvalue()


@dataclass(frozen=True)
class Stage:
    """The addresses, as the environment of a function app."""

    environ: dict[str, str]
    pool_log: Path
    folder: Path

    async def make_container(self) -> None:
        """The input container, where the settings name another one than the stage's own."""
        async with self._blobs() as blobs:
            await blobs.get_container_client(self.environ["PIPELINE_INPUT_CONTAINER"]).create_container()

    async def drop(self, prefix: str, count: int, data: bytes) -> None:
        """Put `count` copies of a source into the input container."""
        async with self._blobs() as blobs:
            container = blobs.get_container_client(self.environ["PIPELINE_INPUT_CONTAINER"])
            first = f"{prefix}/{0:05}.jpg"
            await container.upload_blob(first, data, overwrite=True)
            if len(data) < 10_000_000:
                await _spread([container.upload_blob(name(prefix, i), data, overwrite=True) for i in range(1, count)])
            else:
                await _spread([_copied(container, first, name(prefix, i)) for i in range(1, count)])

    async def worker(self, kind: str, *options: str | float, **environ: str) -> dict[str, Any]:
        """What a process of its own told at its end: see `benchmarks.worker`."""
        argv = [sys.executable, "-m", "benchmarks.worker", kind, *map(str, options)]
        process = await asyncio.create_subprocess_exec(
            *argv, cwd=ROOT, env={**os.environ, **self.environ, **environ}, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        if process.returncode:
            raise SystemExit(f"worker {kind} ended with status {process.returncode}")
        told: dict[str, Any] = json.loads(out.splitlines()[-1])
        return told

    def anew(self) -> Stage:
        """The same servers with another ledger and other slots, as if nothing had been done yet."""
        own = secrets.token_hex(4)
        changed = {"PIPELINE_LEDGER_TABLE": f"ledger{own}", "PIPELINE_STATE_CONTAINER": f"state-{own}"}
        changed |= {"PIPELINE_RUN_TABLE": f"runs{own}", "PIPELINE_RUN_QUEUE": f"runs-{own}"}
        return Stage(
            {**self.environ, **changed, "PIPELINE_OUTPUT_CONTAINER": f"output-{own}"}, self.pool_log, self.folder
        )

    def calls(self, since: int = 0) -> list[dict[str, Any]]:
        """The pool's log of calls, from a line on."""
        lines = self.pool_log.read_text().splitlines()[since:]
        return [event for event in map(json.loads, lines) if event["event"] == "call"]

    def logged(self) -> int:
        """How many lines the pool's log has."""
        return len(self.pool_log.read_text().splitlines())

    def _blobs(self) -> BlobServiceClient:
        return BlobServiceClient.from_connection_string(self.environ["IMAGES"])


def name(prefix: str, number: int) -> str:
    """Of a source."""
    return f"{prefix}/{number:05}.jpg"


async def _copied(container: ContainerClient, source: str, target: str) -> None:
    await container.get_blob_client(target).start_copy_from_url(
        container.get_blob_client(source).url, requires_sync=True
    )


async def _spread(work: list[Any]) -> None:
    """All of it, eight at a time."""
    gate = asyncio.Semaphore(8)

    async def one(each: Any) -> None:  # noqa: ANN401 - any coroutine
        async with gate:
            await each

    await asyncio.gather(*map(one, work))


@asynccontextmanager
async def staged(sessions: int, *pool: str, **environ: str) -> AsyncIterator[Stage]:
    """Storage and a pool of so many sessions, with options of the pool's and settings besides."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as place:
        folder = Path(place)
        (folder / "recipes.yaml").write_text(RECIPES)
        log = folder / "pool.log"
        argv = ["-m", "devstack", "session-pool", "--max-sessions", sessions, "--log", log, *pool]
        async with (
            azurite.running(data=folder / "storage") as storage,
            subprocesses.running("session pool", [sys.executable, *map(str, argv)], cwd=ROOT) as served,
        ):
            endpoint = (await served.wait_for_line(r"session pool ready: (\S+)", timeout=60))[1]
            settings = {
                "IMAGES": storage.connection_string,
                "PIPELINE_POOL_ENDPOINT": endpoint,
                "PIPELINE_POOL_MAX_SESSIONS": str(sessions),
                "PIPELINE_RECIPES": str(folder / "recipes.yaml"),
                "PIPELINE_INPUT_CONTAINER": "input",
                "PIPELINE_SLOT_ACQUIRE_TIMEOUT": "1800",
                **environ,
            }
            stage = Stage(settings, log, folder).anew()
            await stage.make_container()
            yield stage
