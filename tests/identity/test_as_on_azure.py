"""The code that runs on Azure, in the same conditions: https, no keys, and a managed identity."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import certifi
import httpx
import pytest
import pytest_asyncio
from azure.storage.blob.aio import BlobServiceClient

from devstack import azurite as emulator
from devstack import stack
from devstack.identity.endpoint import TokenIssuer
from tests.identity.issuing import UNREACHABLE_ENDPOINT, issuing
from tests.images import detect_format, image_bytes, size
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def azure() -> AsyncIterator[stack.Stack]:
    """A whole stack with an identity."""
    options = stack.StackOptions(data=None, max_sessions=1, identity=True)
    async with stack.running(options, lambda *_: None) as running:
        async with as_uploader(running) as blobs:
            await upload_and_wait(blobs, "sea.jpg")
        yield running


def as_uploader(azure: stack.Stack) -> BlobServiceClient:
    """Return a client of the storage with the emulator's key: an uploader is not the app."""
    url, authorities = azure.settings["IMAGES__blobServiceUri"], azure.settings["SSL_CERT_FILE"]
    return BlobServiceClient(url, emulator.KEY, connection_verify=authorities)


async def upload_and_wait(blobs: BlobServiceClient, name: str) -> None:
    """Upload an image and wait until its three renditions are complete."""
    await blobs.get_blob_client("input", name).upload_blob(image_bytes(400, 300))
    output = blobs.get_container_client("output")

    async def is_complete() -> bool:
        return len([blob async for blob in output.list_blob_names(name_starts_with=f"web/{name}/")]) == 3

    await eventually(is_complete, timeout=90)


async def pipeline(azure: stack.Stack, *arguments: str, **variables: str) -> tuple[int | None, str]:
    """Run `python -m pipeline …` in the environment of the app. Return its exit status and output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pipeline", *arguments, cwd=ROOT, env={**os.environ, **azure.settings, **variables},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert "Traceback" not in output.decode()
    return process.returncode, " ".join(output.decode().split())


async def test_an_upload_becomes_renditions_without_any_key(azure: stack.Stack) -> None:
    assert not any("AccountKey" in value or emulator.KEY in value for value in azure.settings.values())
    assert azure.settings["IMAGES__blobServiceUri"].startswith("https://")
    assert azure.settings["PIPELINE_POOL_ENDPOINT"].startswith("https://")
    async with as_uploader(azure) as blobs:
        await upload_and_wait(blobs, "lake.jpg")
        thumb = await (await blobs.get_blob_client("output", "web/lake.jpg/thumb.jpg").download_blob()).readall()
    assert (detect_format(thumb), size(thumb)) == ("JPEG", (300, 300))


@pytest.mark.parametrize(
    "source",
    [
        "../output/web/sea.jpg/thumb.jpg",
        "uploads/../output/web/sea.jpg/thumb.jpg",
        "input/%2e%2e/output/web/sea.jpg/thumb.jpg",
        "input/./sea.jpg",
        "/output/web/sea.jpg/thumb.jpg",
    ],
)
async def test_the_console_shows_no_blob_of_another_container(azure: stack.Stack, source: str) -> None:
    """A shared key signs the requested URL. A token does not, so it is valid after the URL was normalized."""
    async with httpx.AsyncClient(base_url=f"{azure.hosts[0]}/api/console", timeout=60) as client:
        allowed = await client.get("/images/blob", params={"source": "sea.jpg"})
        assert (allowed.headers["content-type"], detect_format(allowed.content)) == ("image/jpeg", "JPEG")
        forbidden = await client.get("/images/blob", params={"source": source})
        assert forbidden.headers["content-type"].startswith("image/svg+xml")
        page = (await client.get("/playground")).text
        token = page.partition('name="csrf_token" value="')[2].partition('"')[0]
        fields = {"csrf_token": token, "mode": "recipe", "recipe": "web", "source": source, "command": "preview"}
        response = await client.post("/playground", data=fields, headers={"Sec-Fetch-Site": "same-origin"})
        assert (response.status_code, "invalid blob name" in response.text) == (422, True)


async def test_the_command_line_uses_the_identity(azure: stack.Stack) -> None:
    assert await pipeline(azure, "init") == (0, "nothing to create: everything exists")


async def test_a_token_that_storage_rejects_is_reported_with_the_role(azure: stack.Stack) -> None:
    async with issuing(TokenIssuer(misdirected=True)) as variables:
        status, output = await pipeline(azure, "init", **variables)
    assert status == 1
    assert output.startswith("storage_denied: creating the container")
    assert "Storage Blob Data Owner" in output


async def preview(azure: stack.Stack, folder: Path, **variables: str) -> tuple[int | None, str]:
    """Run a command that uses only the pool, without retries."""
    photo = folder / "a.jpg"
    photo.write_bytes(image_bytes(40, 30))
    arguments = ("preview", "web", str(photo), "--out", str(folder))
    return await pipeline(azure, *arguments, PIPELINE_RETRY_MAX_ATTEMPTS="1", **variables)


async def test_a_token_that_the_pool_rejects_is_reported_with_the_role(azure: stack.Stack, tmp_path: Path) -> None:
    async with issuing(TokenIssuer(misdirected=True)) as variables:
        status, output = await preview(azure, tmp_path, **variables)
    assert status == 1
    assert output.startswith("pool_denied:")
    assert "Azure ContainerApps Session Executor" in output


async def test_an_identity_without_a_token_is_reported(azure: stack.Stack) -> None:
    async with issuing(TokenIssuer(refused=("https://storage.azure.com",))) as variables:
        status, output = await pipeline(azure, "init", **variables)
    assert status == 1
    assert output.startswith("identity_denied: creating the container")


async def test_an_unreachable_identity_service_is_reported(azure: stack.Stack) -> None:
    status, output = await pipeline(azure, "init", **UNREACHABLE_ENDPOINT)
    assert status == 1
    assert output.startswith("identity_unavailable: creating the container")
    assert "the identity service does not respond" in output


async def test_an_untrusted_certificate_is_rejected(azure: stack.Stack, tmp_path: Path) -> None:
    status, output = await preview(azure, tmp_path, SSL_CERT_FILE=certifi.where())
    assert (status, output.split()[0]) == (1, "pool_unreachable:")
    assert "SSL_CERT_FILE" in output
