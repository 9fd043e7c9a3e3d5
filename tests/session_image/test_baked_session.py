"""The client installs the engine only in sessions whose image does not contain the right one."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from pipeline.errors import SessionLost
from pipeline.pool import engine_bundle
from pipeline.pool.batching import WorkItem
from pipeline.pool.client import PoolClient
from pipeline.pool.report import SessionReport
from pipeline.pool.session import REPLACED, Session
from pipeline.pool.slot import Slot
from pipeline.settings import Settings
from tests.engine.conftest import job, rendition
from tests.images import image_bytes
from tests.session_pool_emulator.emulator import Emulator


class NoDocument:
    """The document of a slot, without storage."""

    def __init__(self) -> None:
        self.content: dict[str, Any] = {}

    async def write(self, content: dict[str, Any]) -> None: ...

    async def renew(self) -> None: ...

    async def release(self) -> None: ...


@asynccontextmanager
async def session_of(pool: Emulator, identifier: str) -> AsyncIterator[Session]:
    """Open a session whose state is unknown."""
    client = PoolClient(Settings.load({"PIPELINE_POOL_ENDPOINT": pool.url}), token=None)
    try:
        yield Session(
            client, identifier, engine_installed=False, lease_is_valid=lambda: True, image_may_have_engine=True
        )
        await client.end(identifier)
    finally:
        await client.close()


async def chunks() -> AsyncIterator[bytes]:
    yield image_bytes()


async def nothing() -> AsyncIterator[bytes]:
    yield b"{}"


async def upload_and_run(session: Session) -> SessionReport:
    """Upload a source and execute one job."""
    with session.workspace({"out": "png"}) as names:
        await session.upload(names.source, len(image_bytes()), chunks)
        made = rendition("out", "png")
        made["file"] = names.renditions["out"]
        return (await session.execute(WorkItem(job(made, source=names.source, report=names.report), 60))).report


async def shipped(pool: Emulator, identifier: str) -> bool:
    """Return whether the session has the engine bundle as a file."""
    listed = (await pool.call("GET", "/files", identifier)).json()["value"]
    return engine_bundle.build().name in {entry["name"] for entry in listed}


@pytest.mark.asyncio(loop_scope="session")
async def test_the_engine_of_the_image_is_used(baked_pool: Emulator) -> None:
    identifier = f"baked-{secrets.token_hex(8)}"
    async with session_of(baked_pool, identifier) as session:
        for _ in range(2):
            report = await upload_and_run(session)
            assert report.failure is None
        assert session.engine_installed
        assert not await shipped(baked_pool, identifier)


@pytest.mark.asyncio(loop_scope="session")
async def test_a_replaced_session_needs_only_its_other_files(baked_pool: Emulator) -> None:
    identifier = f"baked-{secrets.token_hex(8)}"
    async with session_of(baked_pool, identifier) as session:
        await session.upload_asset("logo.png", image_bytes())
        assert (await upload_and_run(session)).failure is None
        await baked_pool.call("DELETE", "/session", identifier)
        report = (await session.execute(WorkItem(job(rendition()), 60))).report
        assert report.failure is not None
        assert report.failure.kind == "source_missing"
        await session.upload_asset("logo.png", image_bytes())
        names = {entry["name"] for entry in (await baked_pool.call("GET", "/files", identifier)).json()["value"]}
        assert names == {"logo.png"}


async def test_an_image_without_the_engine_gets_it_unnoticed(session_pool: str) -> None:
    identifier = f"plain-{secrets.token_hex(8)}"
    client = PoolClient(Settings.load({"PIPELINE_POOL_ENDPOINT": session_pool}), token=None)
    try:
        session = Session(
            client, identifier, engine_installed=False, lease_is_valid=lambda: True, image_may_have_engine=True
        )
        assert (await upload_and_run(session)).failure is None
        assert session.engine_installed
        await client.end(identifier)
        with pytest.raises(SessionLost) as lost:
            await session.execute(WorkItem(job(rendition()), 60))
        assert lost.value.kind == REPLACED
        await client.end(identifier)
    finally:
        await client.close()


@pytest.mark.parametrize(
    ("endpoint", "uploads"),
    [
        ("https://pool.env.westus2.azurecontainerapps.io", ["in.bin"]),
        ("https://westus2.dynamicsessions.io/subscriptions/s/resourceGroups/g/sessionPools/p", ["engine", "in.bin"]),
    ],
)
async def test_only_custom_image_pools_may_contain_the_engine(endpoint: str, uploads: list[str]) -> None:
    """The transport records the uploads and responds in Azure's place."""
    sent: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        body = b"".join([chunk async for chunk in request.stream])
        name = body.split(b'filename="')[1].split(b'"')[0].decode()
        sent.append("engine" if name == engine_bundle.build().name else name)
        return httpx.Response(200, content=nothing())

    settings = Settings.load({"PIPELINE_POOL_ENDPOINT": endpoint})
    client = PoolClient(settings, token=None, transport=httpx.MockTransport(answer))
    slot = Slot("00", document=NoDocument(), settings=settings, client=client, leased=time.monotonic())
    slot.new_identity()
    await slot.session.upload("in.bin", len(image_bytes()), chunks)
    await client.close()
    assert sorted(sent) == uploads
