"""The whole stack: `python -m devstack up`."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from azure.storage.blob.aio import BlobServiceClient

from devstack import azurite, subprocesses
from pipeline.storage.deployment import read_number
from tests.images import image_bytes
from tests.waiting import eventually


@dataclass
class Up:
    """A running `up`, its descendant processes, its environment file and its output."""

    process: subprocesses.Subprocess
    descendants: list[psutil.Process]
    env_file: Path
    log: list[str]

    def part(self, *words: str) -> psutil.Process:
        """Return the first process with these words in its command line."""
        return next(each for each in self.descendants if set(words) <= set(each.cmdline()))

    async def renditions_of(self, photo: str) -> set[str]:
        """Upload a photo, and wait for its three renditions."""
        async with blob_client(settings(self.env_file)) as blobs:
            await blobs.get_blob_client("input", photo).upload_blob(image_bytes(400, 300))
            renditions: set[str] = set()

            async def is_complete() -> bool:
                output = blobs.get_container_client("output")
                renditions.update([name async for name in output.list_blob_names(name_starts_with=f"web/{photo}/")])
                return len(renditions) == 3

            await eventually(is_complete, 60)
            return renditions


def settings(env_file: Path) -> dict[str, str]:
    """Return the settings in an environment file."""
    lines = [line.split("=", 1) for line in env_file.read_text().splitlines() if not line.startswith("#")]
    return {name: shlex.split(value)[0] for name, value in lines}


def blob_client(variables: dict[str, str]) -> BlobServiceClient:
    """Return a client for the test. It uses the emulator's key even if the app uses an identity."""
    if variables["IMAGES"]:
        return BlobServiceClient.from_connection_string(variables["IMAGES"])
    url, authorities = variables["IMAGES__blobServiceUri"], variables["SSL_CERT_FILE"]
    return BlobServiceClient(url, azurite.KEY, connection_verify=authorities)


@contextlib.asynccontextmanager
async def up(tmp_path: Path, *options: str) -> AsyncIterator[Up]:
    """Run the stack until the block ends."""
    log: list[str] = []
    env_file = tmp_path / "env"
    argv = [sys.executable, "-m", "devstack", "up", "--in-memory", "--env-file", str(env_file), *options]
    async with subprocesses.running("up", argv, output=log.append, grace=40) as process:
        await process.wait_for_line("stack ready: ", 90)
        yield Up(process, psutil.Process(process.pid).children(recursive=True), env_file, log)


async def wait_until_gone(processes: list[psutil.Process]) -> None:
    """Wait until all processes have ended."""
    await eventually(lambda: not any(map(_is_running, processes)))


def _is_running(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


async def test_the_stack_works_after_one_of_two_hosts_was_killed(tmp_path: Path) -> None:
    async with up(tmp_path, "--hosts", "2", "--max-sessions", "1") as running:
        running.part("devstack", "host").kill()
        await eventually(lambda: any("still running: host-" in line for line in running.log))
        names = {"large.webp", "small.avif", "thumb.jpg"}
        assert await running.renditions_of("sea.jpg") == {f"web/sea.jpg/{name}" for name in names}
        variables = settings(running.env_file)
        number = read_number(Path(variables["DEPLOYMENT_NUMBER_FILE"]))
        async with blob_client(variables) as blobs:
            rendition = await blobs.get_blob_client("output", "web/sea.jpg/thumb.jpg").get_blob_properties()
        assert rendition.metadata["pipeline_deployment"] == str(number)
        assert psutil.Process(running.process.pid).create_time() <= number + 1 <= time.time() + 1
        await running.process.stop(grace=40)
        assert running.process.status == 0
        await wait_until_gone(running.descendants)
        assert not running.env_file.exists()


async def test_no_process_is_left_when_the_stack_is_killed(tmp_path: Path) -> None:
    async with up(tmp_path, "--max-sessions", "1") as running:
        assert len(running.descendants) >= 4  # storage, session pool, host, sandbox
        running.process.kill()
        await wait_until_gone(running.descendants)


async def test_the_stack_stops_with_the_reason_when_its_storage_ends(tmp_path: Path) -> None:
    async with up(tmp_path, "--max-sessions", "1") as running:
        running.part("--inMemoryPersistence").kill()
        await running.process.wait_for_exit()
        assert running.process.status == 1
        assert any(line.startswith("error: azurite: ended with status -9") for line in running.log)
        await wait_until_gone(running.descendants)


async def test_the_stack_works_with_identity_and_duplicate_events(tmp_path: Path) -> None:
    async with up(tmp_path, "--identity", "--event-grid", "--copies 2", "--max-sessions", "1") as running:
        assert "--events" in running.part("devstack", "host").cmdline()
        assert not any("AccountKey" in value for value in settings(running.env_file).values())
        assert len(await running.renditions_of("sea.jpg")) == 3
        await running.process.stop(grace=40)
        assert running.process.status == 0
        await wait_until_gone(running.descendants)


def test_invalid_recipes_are_reported_before_anything_starts(tmp_path: Path) -> None:
    recipes = tmp_path / "recipes.yaml"
    recipes.write_text("recipes:\n  web:\n    renditions:\n      a: {format: jpgg}\n")
    argv = [sys.executable, "-m", "devstack", "up", "--in-memory", "--env-file", str(tmp_path / "env")]
    environ = {**os.environ, "PIPELINE_RECIPES": str(recipes)}
    result = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("jpgg") == 1
    assert "session-pool" not in result.stderr


def test_unknown_settings_are_reported_before_anything_starts() -> None:
    argv = [sys.executable, "-m", "devstack", "up", "--in-memory"]
    environ = {**os.environ, "PIPELINE_INPUT_CONTANER": "x"}
    result = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60, check=False)
    message = "PIPELINE_INPUT_CONTANER is not a setting; did you mean PIPELINE_INPUT_CONTAINER?"
    assert (result.returncode, message in result.stderr, "session-pool" in result.stderr) == (1, True, False)


def test_an_unwritable_folder_is_reported_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    argv = [sys.executable, "-m", "devstack", "azurite", "--data", str(tmp_path / "file" / "data")]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {tmp_path / 'file' / 'data'}: Not a directory; ")
    assert "Traceback" not in result.stderr
