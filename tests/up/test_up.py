"""Everything together: `python -m devstack up`."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from azure.storage.blob.aio import BlobServiceClient

from devstack import azurite, child
from tests.images import picture
from tests.waiting import eventually


@dataclass
class Up:
    """A running `up`, every process below it, and the settings that it tells other programs."""

    process: child.Child
    below: list[psutil.Process]
    env_file: Path
    log: list[str]

    def part(self, *words: str) -> psutil.Process:
        """The first process that has these words in its command line."""
        return next(each for each in self.below if set(words) <= set(each.cmdline()))

    async def renditions_of(self, photo: str) -> set[str]:
        """Drop a photo, and wait for the names of its three renditions."""
        async with client(settings(self.env_file)) as blobs:
            await blobs.get_blob_client("input", photo).upload_blob(picture(400, 300))
            made: set[str] = set()

            async def all_made() -> bool:
                output = blobs.get_container_client("output")
                made.update([name async for name in output.list_blob_names(name_starts_with=f"web/{photo}/")])
                return len(made) == 3

            await eventually(all_made, 60)
            return made


def settings(env_file: Path) -> dict[str, str]:
    lines = [line.split("=", 1) for line in env_file.read_text().splitlines() if not line.startswith("#")]
    return {name: shlex.split(value)[0] for name, value in lines}


def client(found: dict[str, str]) -> BlobServiceClient:
    """The blobs, for a test: by the emulator's key also where the app signs in as an identity."""
    if found["IMAGES"]:
        return BlobServiceClient.from_connection_string(found["IMAGES"])
    return BlobServiceClient(found["IMAGES__blobServiceUri"], azurite.KEY, connection_verify=found["SSL_CERT_FILE"])


@contextlib.asynccontextmanager
async def up(tmp_path: Path, *options: str) -> AsyncIterator[Up]:
    log: list[str] = []
    env_file = tmp_path / "env"
    argv = [sys.executable, "-m", "devstack", "up", "--in-memory", "--env-file", str(env_file), *options]
    async with child.running("up", argv, output=log.append, grace=40) as process:
        await process.line("stack ready: ", 90)
        yield Up(process, psutil.Process(process.pid).children(recursive=True), env_file, log)


async def gone(processes: list[psutil.Process]) -> None:
    """Wait until none of them is left."""
    await eventually(lambda: not any(map(_alive, processes)))


def _alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


async def test_a_photo_goes_through_also_when_one_of_two_hosts_was_killed(tmp_path: Path) -> None:
    async with up(tmp_path, "--hosts", "2", "--max-sessions", "1") as running:
        running.part("devstack", "host").kill()
        await eventually(lambda: any("goes on without it" in line for line in running.log))
        names = {"large.webp", "small.avif", "thumb.jpg"}
        assert await running.renditions_of("sea.jpg") == {f"web/sea.jpg/{name}" for name in names}
        await running.process.stop(grace=40)
        assert running.process.status == 0
        await gone(running.below)
        assert not running.env_file.exists()


async def test_nothing_is_left_when_the_stack_is_killed(tmp_path: Path) -> None:
    async with up(tmp_path, "--max-sessions", "1") as running:
        assert len(running.below) >= 4  # storage, session pool, host, sandbox
        running.process.kill()
        await gone(running.below)


async def test_the_stack_stops_and_says_why_when_its_storage_ends(tmp_path: Path) -> None:
    async with up(tmp_path, "--max-sessions", "1") as running:
        running.part("--inMemoryPersistence").kill()
        await running.process.ended()
        assert running.process.status == 1
        assert any(line.startswith("error: azurite: ended with status -9") for line in running.log)
        await gone(running.below)


async def test_a_photo_goes_through_by_identity_and_events_that_come_twice(tmp_path: Path) -> None:
    async with up(tmp_path, "--identity", "--event-grid", "--copies 2", "--max-sessions", "1") as running:
        assert "--events" in running.part("devstack", "host").cmdline()
        assert not any("AccountKey" in value for value in settings(running.env_file).values())
        assert len(await running.renditions_of("sea.jpg")) == 3
        await running.process.stop(grace=40)
        assert running.process.status == 0
        await gone(running.below)


def test_recipes_that_are_not_right_are_told_once_and_nothing_is_started(tmp_path: Path) -> None:
    recipes = tmp_path / "recipes.yaml"
    recipes.write_text("recipes:\n  web:\n    renditions:\n      a: {format: jpgg}\n")
    argv = [sys.executable, "-m", "devstack", "up", "--in-memory", "--env-file", str(tmp_path / "env")]
    environ = {**os.environ, "PIPELINE_RECIPES": str(recipes)}
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("jpgg") == 1
    assert "session-pool" not in done.stderr


def test_a_folder_that_cannot_be_written_is_said_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    argv = [sys.executable, "-m", "devstack", "azurite", "--data", str(tmp_path / "file" / "data")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path / 'file' / 'data'}: Not a directory; ")
    assert "Traceback" not in done.stderr
