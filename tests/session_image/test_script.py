"""scripts/image with a fake docker, whose container is a session of the emulated pool."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import httpx
import pytest

from tests.session_pool_emulator.emulator import Emulator

ROOT = Path(__file__).parents[2]
DOCKER = """#!/bin/sh
echo "$*" >> "$CALLS"
case $1 in
  run) echo container ;;
  port) echo "$ADDRESS" ;;
esac
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Return an environment with a fake `docker`."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "docker").write_text(DOCKER)
    (tmp_path / "bin" / "docker").chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}/bin:/usr/bin:/bin", "CALLS": str(tmp_path / "calls"), "ADDRESS": ""}


async def image(environ: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    """Run the script. Return its exit status, its standard output and its standard error."""
    process = await asyncio.create_subprocess_exec(
        ROOT / "scripts" / "image",
        *arguments,
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


@pytest.mark.asyncio(loop_scope="session")
async def test_scripts_image_tries_the_crop_and_the_engine(environ: dict[str, str], baked_pool: Emulator) -> None:
    environ["ADDRESS"] = baked_pool.url.removeprefix("http://")
    status, out, err = await image(environ, "try")
    assert status == 0, out + err
    assert "with the engine" in out
    assert "cropped and downloaded" in err
    await baked_pool.call("DELETE", "/session", "try-it-here")
    calls = Path(environ["CALLS"]).read_text().splitlines()
    assert calls[-1] == "kill container", "nothing goes on running"


@pytest.mark.asyncio(loop_scope="session")
async def test_scripts_image_reports_a_missing_engine(environ: dict[str, str], session_pool: str) -> None:
    environ["ADDRESS"] = session_pool.removeprefix("http://")
    status, out, err = await image(environ, "try")
    async with httpx.AsyncClient() as http:
        await http.delete(f"{session_pool}/session?api-version=2025-10-02-preview&identifier=try-it-here")
    assert status == 1
    assert "No module named 'engine_" in out
    assert "the crop produced no file" in err


async def test_the_tag_is_a_hash_of_the_image_content(environ: dict[str, str]) -> None:
    status, first, _ = await image(environ, "tag")
    assert status == 0
    assert re.fullmatch(r"[0-9a-f]{16}\n", first)
    assert (await image(environ, "tag"))[1] == first
    status, _, _ = await image(environ, "build")
    assert status == 0
    assert f"--tag image-pipeline-session:{first.strip()} ." in Path(environ["CALLS"]).read_text()


async def test_scripts_image_needs_docker_or_podman(environ: dict[str, str]) -> None:
    for program in ("docker", "podman"):
        path = Path(environ["PATH"].split(":")[0]) / program
        path.write_text("#!/bin/sh\nexit 1\n")
        path.chmod(0o755)
    status, _, err = await image(environ, "build")
    assert status == 1
    assert "neither docker nor podman is running" in err
