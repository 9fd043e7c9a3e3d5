"""Scheduler and microbatches on Azurite and sandboxed sessions. The fast tests run the same cases in memory."""

from __future__ import annotations

import asyncio
import io
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from azure.storage.blob.aio import BlobLeaseClient
from PIL import Image

from benchmarks.quality.scenes import LIGHT, make_scene
from benchmarks.quality.smart_crop import crop_box
from pipeline.engine.transforms import faces
from pipeline.errors import SessionLost
from tests.images import image_bytes
from tests.pool.helpers import (
    FIRST_SLOT,
    another_process,
    documents_of,
    one_byte,
    process_image,
    slot_document,
    slot_documents,
)
from tests.pool.test_batching import check_a_session_that_ends_under_a_microbatch, check_one_bad_image_fails_alone
from tests.stack import Stack, open_stack
from tests.waiting import eventually


@pytest.fixture
async def one_session(environ: dict[str, str]) -> AsyncIterator[Stack]:
    """Services that use one session."""
    settings = {"PIPELINE_POOL_MAX_SESSIONS": "1", "PIPELINE_SLOT_LEASE_DURATION": "15"}
    async with open_stack({**environ, **settings}) as stack:
        yield stack


async def files_in(stack: Stack, identifier: str) -> list[str]:
    """Return the names of the files in a session."""
    response = await stack.services.pool._call("GET", "files", identifier, "list")
    return [file["name"] for file in response["value"]]


async def test_a_returned_session_is_clean_and_used_again(one_session: Stack) -> None:
    for _ in range(2):
        assert (await process_image(one_session)).state == "done"
    await one_session.services.scheduler.close()
    returned = await slot_document(one_session)
    assert (returned["state"], returned["generation"]) == ("free", 1)
    files = await files_in(one_session, returned["identifier"])
    assert [name for name in files if not name.startswith("engine-")] == []
    heir = another_process(one_session)
    async with heir.acquire_slot() as session:
        assert session.engine_installed
    assert (await slot_document(one_session))["identifier"] == returned["identifier"]
    await heir.close()


async def test_a_slot_of_a_dead_process_gets_a_new_session(one_session: Stack) -> None:
    services, left = one_session.services, "left-behind-12345678"
    await services.slot_documents.list_free(1)
    dead = await services.slot_documents.acquire(FIRST_SLOT)
    assert dead is not None
    await services.pool.upload(left, "secret.txt", 1, one_byte)
    await dead.write({"state": "in use", "identifier": left, "generation": 7, "born": 4e9})
    await dead.release()
    assert (await process_image(one_session)).state == "done"
    assert (await slot_document(one_session))["generation"] == 8
    assert await files_in(one_session, left) == [], "the old session was ended"
    await services.pool.end(left)


async def test_an_expired_session_gets_the_engine_again(stack: Stack) -> None:
    assert (await process_image(stack)).state == "done"
    await stack.services.pool.end((await slot_document(stack))["identifier"])
    entry = await process_image(stack)
    assert (entry.state, (await slot_document(stack))["generation"]) == ("done", 1)


async def test_a_session_lost_in_mid_job_costs_one_more_attempt(stack: Stack) -> None:
    async def named() -> bool:
        return any(each.get("identifier") for each in await slot_documents(stack))

    async def end_sessions() -> None:
        await eventually(named)
        for each in await slot_documents(stack):
            if each.get("identifier"):
                await stack.services.pool.end(each["identifier"])

    entry, _ = await asyncio.gather(process_image(stack, data=image_bytes(4000, 3000)), end_sessions())
    assert entry.state == "done"


FACE_RECIPE = """
recipes:
  web:
    match: {include: ["photos/**"]}
    renditions:
      face: {format: png, transforms: [{crop: {aspect: 1:1, gravity: face}}]}
      smart: {format: png, transforms: [{crop: {aspect: 1:1, gravity: smart}}]}
"""


async def test_a_session_crops_to_a_face(environ: dict[str, str], recipe_file: Path) -> None:
    """The model must be readable in the sandbox, and OpenCV must start there."""
    pytest.importorskip("cv2", reason="no OpenCV: requirements-dev.txt installs it, and the package of the model")
    assert {"opencv", "face_model"} <= faces.versions().keys()
    recipe_file.write_text(FACE_RECIPE)
    scene = make_scene("benchmark 3", LIGHT)
    body = io.BytesIO()
    scene.image.save(body, "PNG")
    async with open_stack(environ) as stack:
        entry = await process_image(stack, data=body.getvalue())
        assert entry.state == "done"
        assert {"opencv", "face_model"} <= entry.versions.keys()
        outputs = await stack.outputs()
    for gravity in ("face", "smart"):
        (output,) = [content for name, content in outputs.items() if gravity in name]
        expected = scene.image.crop(crop_box(scene.image, "1:1", gravity))
        assert Image.open(io.BytesIO(output)).convert("RGB").tobytes() == expected.tobytes()


async def test_a_slot_that_another_process_holds_is_dropped(one_session: Stack) -> None:
    services = one_session.services
    async with services.scheduler.acquire_slot() as session:
        (held,) = services.scheduler.leases.slots
        container = services.account.container(services.settings.state_container)
        await BlobLeaseClient(container.get_blob_client(FIRST_SLOT)).break_lease(0)
        taken = await documents_of(one_session).acquire(FIRST_SLOT)
        assert taken is not None
        await services.scheduler.leases.heartbeat(held)
        with pytest.raises(SessionLost):
            await session.upload("in.bin", 1, one_byte)
    await taken.release()


async def test_an_upload_never_holds_an_image_whole(stack: Stack) -> None:
    size = 48 * 1024 * 1024

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(size // 65536):
            yield bytes(65536)

    async with stack.services.scheduler.acquire_slot() as session:
        await session.upload("warm.bin", 1, one_byte)
        tracemalloc.start()
        try:
            await session.upload("big.bin", size, chunks)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 4 * 1024 * 1024


async def test_one_bad_image_of_a_microbatch_fails_alone(one_session: Stack) -> None:
    await check_one_bad_image_fails_alone(one_session)


async def test_a_session_that_ends_under_a_microbatch_costs_no_job(one_session: Stack) -> None:
    await check_a_session_that_ends_under_a_microbatch(one_session)
