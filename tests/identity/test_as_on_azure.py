"""The code that runs on Azure, as it runs there: https, no keys, a managed identity that signs in everywhere."""

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
from devstack.identity.tokens import Issuer
from tests.identity.issuing import NOBODY, issuing
from tests.images import form, picture, sides
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def azure() -> AsyncIterator[stack.Stack]:
    """The whole stack, by identity."""
    async with stack.running(stack.Options(data=None, max_sessions=1, identity=True), lambda *_: None) as running:
        yield running


async def pipeline(azure: stack.Stack, *arguments: str, **environment: str) -> tuple[int | None, str]:
    """`python -m pipeline …` in the app's environment: its status, and what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pipeline", *arguments, cwd=ROOT, env={**os.environ, **azure.settings, **environment},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    told, _ = await process.communicate()
    assert "Traceback" not in told.decode()
    return process.returncode, " ".join(told.decode().split())


async def test_a_dropped_photo_becomes_renditions_and_no_key_is_used_anywhere(azure: stack.Stack) -> None:
    assert not any("AccountKey" in value or emulator.KEY in value for value in azure.settings.values())
    assert azure.settings["IMAGES__blobServiceUri"].startswith("https://")
    assert azure.settings["PIPELINE_POOL_ENDPOINT"].startswith("https://")
    # The test is not the app: it looks from outside, with the emulator's key.
    trusted = azure.settings["SSL_CERT_FILE"]
    uri = azure.settings["IMAGES__blobServiceUri"]
    async with BlobServiceClient(uri, emulator.KEY, connection_verify=trusted) as blobs:
        await blobs.get_blob_client("input", "sea.jpg").upload_blob(picture(400, 300))
        output = blobs.get_container_client("output")

        async def made() -> bool:
            return len([name async for name in output.list_blob_names(name_starts_with="web/sea.jpg/")]) == 3

        await eventually(made, timeout=90)
        thumb = await (await output.download_blob("web/sea.jpg/thumb.jpg")).readall()
    assert (form(thumb), sides(thumb)) == ("JPEG", (300, 300))


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
    """A shared key signs the address as it was asked for; a token is good for whatever the address becomes."""
    async with httpx.AsyncClient(base_url=f"{azure.hosts[0]}/api/console", timeout=60) as client:
        shown = await client.get("/images/blob", params={"source": "sea.jpg"})
        assert (shown.headers["content-type"], form(shown.content)) == ("image/jpeg", "JPEG")
        hidden = await client.get("/images/blob", params={"source": source})
        assert hidden.headers["content-type"].startswith("image/svg+xml")
        page = (await client.get("/playground")).text
        token = page.partition('name="token" value="')[2].partition('"')[0]
        fields = {"token": token, "how": "recipe", "recipe": "web", "source": source, "do": "run"}
        answer = await client.post("/playground", data=fields, headers={"Sec-Fetch-Site": "same-origin"})
        assert (answer.status_code, "no name of a blob" in answer.text) == (422, True)


async def test_the_command_line_signs_in_too(azure: stack.Stack) -> None:
    assert await pipeline(azure, "init") == (0, "everything is there already")


async def test_a_token_that_storage_refuses_is_said_with_the_roles_to_give(azure: stack.Stack) -> None:
    async with issuing(Issuer(misdirected=True)) as variables:
        status, told = await pipeline(azure, "init", **variables)
    assert status == 1
    assert told.startswith("storage_denied: making container")
    assert "Storage Blob Data Owner" in told


async def preview(azure: stack.Stack, folder: Path, **environment: str) -> tuple[int | None, str]:
    """The pool alone at work, asked once."""
    photo = folder / "a.jpg"
    photo.write_bytes(picture(40, 30))
    arguments = ("preview", "web", str(photo), "--out", str(folder))
    return await pipeline(azure, *arguments, PIPELINE_RETRY_MAX_ATTEMPTS="1", **environment)


async def test_a_token_that_the_pool_refuses_is_said_with_the_role_to_give(azure: stack.Stack, tmp_path: Path) -> None:
    async with issuing(Issuer(misdirected=True)) as variables:
        status, told = await preview(azure, tmp_path, **variables)
    assert status == 1
    assert told.startswith("pool_denied:")
    assert "Azure ContainerApps Session Executor" in told


async def test_an_identity_that_gets_no_token_is_said_with_what_to_set(azure: stack.Stack) -> None:
    async with issuing(Issuer(refused=("https://storage.azure.com",))) as variables:
        status, told = await pipeline(azure, "init", **variables)
    assert status == 1
    assert told.startswith("identity_denied: making container")


async def test_an_identity_service_that_does_not_answer_is_named(azure: stack.Stack) -> None:
    status, told = await pipeline(azure, "init", **NOBODY)
    assert status == 1
    assert told.startswith("identity_unavailable: making container")
    assert "the identity service does not answer" in told


async def test_a_certificate_that_nobody_vouches_for_is_refused(azure: stack.Stack, tmp_path: Path) -> None:
    status, told = await preview(azure, tmp_path, SSL_CERT_FILE=certifi.where())
    assert (status, told.split()[0]) == (1, "pool_unreachable:")
    assert "SSL_CERT_FILE" in told
