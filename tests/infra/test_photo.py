"""scripts/lib/photo.sh, the check at the end of a deployment, with a real app."""

from __future__ import annotations

import asyncio
import shlex
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from azure.storage.blob.aio import BlobServiceClient

from devstack import stack

ROOT = Path(__file__).parents[2]
# The deployed app serves HTTPS; this one serves HTTP.
CURL = '#!/bin/bash\nPATH=/usr/bin:/bin exec curl "${@/#https:/http:}"\n'
# `az storage blob`, for the emulator.
AZ = f"""#!{sys.executable}
import fnmatch, os, sys
from azure.storage.blob import BlobServiceClient
verb, options = sys.argv[3], dict(zip(sys.argv[4::2], sys.argv[5::2]))
service = BlobServiceClient.from_connection_string(os.environ["IMAGES"])
container = service.get_container_client(options.get("--container-name") or options["--source"])
if verb == "upload":
    container.upload_blob(options["--name"], open(options["--file"], "rb"))
elif verb == "list":
    print(*container.list_blob_names(name_starts_with=options["--prefix"]), sep="\\n")
elif verb == "delete":
    container.delete_blob(options["--name"])
else:
    for name in container.list_blob_names():
        if fnmatch.fnmatch(name, options["--pattern"]):
            container.delete_blob(name)
"""


@pytest.mark.timeout(300)
async def test_the_check_passes_with_a_real_app_and_cleans_up(tmp_path: Path) -> None:
    for name, text in {"curl": CURL, "az": AZ}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    async with stack.running(stack.StackOptions(data=None), lambda *_: None) as running:
        host = running.hosts[0].removeprefix("http://")
        settings = f'FUNCTION_APP_HOST="{host}"\nINPUT_CONTAINER="input"\nOUTPUT_CONTAINER="output"'
        script = f"""set -euo pipefail; . scripts/lib/azure.sh; . scripts/lib/photo.sh
            name=photos key=any settings={shlex.quote(settings)}; try_a_photo; try_a_request"""
        environ = {
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "IMAGES": running.settings["IMAGES"],
            "DEPLOY_PAUSE": "1",
            "DEPLOY_TRIES": "200",
        }
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", script, cwd=ROOT, env=environ, stdout=PIPE, stderr=PIPE
        )
        out, said = (part.decode() for part in await process.communicate())
        assert process.returncode == 0, said
        left = await _everything(running.settings["IMAGES"])
    assert [line.rpartition("/")[2] for line in out.split()] == ["large.webp", "small.avif", "thumb.jpg"]
    assert "renditions of the recipe web: web/photo.jpg/large.webp" in said
    assert left == []


async def _everything(connection: str) -> list[str]:
    """Return the names of all sources and renditions."""
    async with BlobServiceClient.from_connection_string(connection) as service:
        containers = [service.get_container_client(name) for name in ("input", "output", "uploads")]
        return [blob.name for each in containers async for blob in each.list_blobs()]
