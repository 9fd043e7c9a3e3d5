"""The storage emulator: it starts, serves today's SDKs, remembers, and is never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from azure.data.tables.aio import TableServiceClient
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueServiceClient

from devstack import azurite as emulator
from devstack.errors import ChildError
from tests.waiting import eventually

COMMAND = [sys.executable, "-m", "devstack", "azurite"]


async def test_blobs_queues_and_tables_are_served_to_the_installed_sdks(azurite: str) -> None:
    async with BlobServiceClient.from_connection_string(azurite) as blobs:
        await blobs.create_container("served")
        await blobs.get_blob_client("served", "a b#%é.txt").upload_blob(b"here")
        names = [blob.name async for blob in blobs.get_container_client("served").list_blobs()]
    async with QueueServiceClient.from_connection_string(azurite) as queues:
        queue = await queues.create_queue("served")
        await queue.send_message("hello")
        message = await queue.receive_message()
    async with TableServiceClient.from_connection_string(azurite) as tables:
        table = await tables.create_table("served")
        await table.create_entity({"PartitionKey": "p", "RowKey": "r", "n": 1})
        row = await table.get_entity("p", "r")
    assert (names, message and message.content, row["n"]) == (["a b#%é.txt"], "hello", 1)


async def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    async with emulator.running(tmp_path) as first, blob_client(first.connection_string) as blob:
        await blob.upload_blob(b"kept")
    async with emulator.running(tmp_path) as second, blob_client(second.connection_string) as blob:
        assert await (await blob.download_blob()).readall() == b"kept"


async def test_a_taken_port_is_reported_with_what_azurite_said(azurite: str) -> None:
    taken = int(azurite.split("BlobEndpoint=http://127.0.0.1:")[1].split("/")[0])
    with pytest.raises(ChildError, match="EADDRINUSE"):
        async with emulator.running(None, emulator.Ports(blob=taken)):
            pass


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_the_command_stops_azurite_when_asked_to(how: signal.Signals, tmp_path: Path) -> None:
    async with started(tmp_path) as (process, azurite):
        process.send_signal(how)
        assert await process.wait() == 0
        await gone(azurite)


async def test_azurite_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    async with started(tmp_path) as (process, azurite):
        process.kill()
        await process.wait()
        await gone(azurite)


async def test_a_half_sent_request_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    async with emulator.running(None) as running:
        port = int(running.blob.split(":")[2].split("/")[0])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"PUT /devstoreaccount1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nab")
        await writer.drain()
        await running.process.stop(grace=0.5)
    writer.close()


@contextlib.asynccontextmanager
async def blob_client(connection: str) -> AsyncIterator[object]:
    async with BlobServiceClient.from_connection_string(connection) as service:
        with contextlib.suppress(Exception):
            await service.create_container("kept")
        yield service.get_blob_client("kept", "blob")


@contextlib.asynccontextmanager
async def started(data: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """`python -m devstack azurite`, ready, and the process id of the Azurite below it."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "--data", str(data), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        assert line.startswith(b"azurite ready: DefaultEndpointsProtocol=http;")
        (below,) = psutil.Process(process.pid).children()
        yield process, below.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def gone(pid: int) -> None:
    await eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
