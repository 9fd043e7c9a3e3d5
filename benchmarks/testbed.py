"""Test bed of the benchmarks: storage emulator, session pool emulator, sources in a container, and workers."""

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

# `light` creates a baseline JPEG, like the plain `save` call of the naive client.
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
    """Return a JPEG photo with camera-like grain, `width` × `height` pixels."""
    with Image.open(sample_photos().usable[0].path) as small:
        large = small.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    grain = Image.merge("RGB", [Image.effect_noise(large.size, 8)] * 3)
    packed = io.BytesIO()
    ImageChops.add(large, grain, scale=1, offset=-128).save(packed, "JPEG", quality=quality)
    return packed.getvalue()


@dataclass(frozen=True)
class TestBed:
    """Environment of a function app on the test bed, the pool's log, and a folder."""

    environ: dict[str, str]
    pool_log: Path
    folder: Path

    async def make_container(self) -> None:
        """Create the input container that the settings name."""
        async with self._blobs() as blobs:
            await blobs.get_container_client(self.environ["PIPELINE_INPUT_CONTAINER"]).create_container()

    async def upload(self, prefix: str, count: int, data: bytes) -> None:
        """Upload `count` copies of a source into the input container."""
        async with self._blobs() as blobs:
            container = blobs.get_container_client(self.environ["PIPELINE_INPUT_CONTAINER"])
            first = f"{prefix}/{0:05}.jpg"
            await container.upload_blob(first, data, overwrite=True)
            if len(data) < 10_000_000:
                await _await_all(
                    [container.upload_blob(source_name(prefix, i), data, overwrite=True) for i in range(1, count)]
                )
            else:
                await _await_all([_copied(container, first, source_name(prefix, i)) for i in range(1, count)])

    async def worker(self, kind: str, *options: str | float, **environ: str) -> dict[str, Any]:
        """Run `benchmarks.worker` in a separate process and return its result."""
        argv = [sys.executable, "-m", "benchmarks.worker", kind, *map(str, options)]
        process = await asyncio.create_subprocess_exec(
            *argv, cwd=ROOT, env={**os.environ, **self.environ, **environ}, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        if process.returncode:
            raise SystemExit(f"worker {kind} ended with status {process.returncode}")
        told: dict[str, Any] = json.loads(out.splitlines()[-1])
        return told

    def fresh(self) -> TestBed:
        """The same servers with another ledger and other slots, as if nothing had been done yet."""
        own = secrets.token_hex(4)
        changed = {"PIPELINE_LEDGER_TABLE": f"ledger{own}", "PIPELINE_STATE_CONTAINER": f"state-{own}"}
        changed |= {"PIPELINE_RUN_TABLE": f"runs{own}", "PIPELINE_RUN_QUEUE": f"runs-{own}"}
        return TestBed(
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


def source_name(prefix: str, number: int) -> str:
    """Return the blob name of a source."""
    return f"{prefix}/{number:05}.jpg"


async def _copied(container: ContainerClient, source: str, target: str) -> None:
    await container.get_blob_client(target).start_copy_from_url(
        container.get_blob_client(source).url, requires_sync=True
    )


async def _await_all(work: list[Any]) -> None:
    """Await all coroutines, at most eight at once."""
    gate = asyncio.Semaphore(8)

    async def one(each: Any) -> None:  # noqa: ANN401 - any coroutine
        async with gate:
            await each

    await asyncio.gather(*map(one, work))


@asynccontextmanager
async def test_bed(sessions: int, *pool: str, **environ: str) -> AsyncIterator[TestBed]:
    """Run storage and a pool of `sessions` sessions, with further options of the pool and settings of the app."""
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
            stage = TestBed(settings, log, folder).fresh()
            await stage.make_container()
            yield stage
