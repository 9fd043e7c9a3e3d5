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
from azure.storage.blob.aio import BlobClient, BlobServiceClient
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
    taken = blob_port(azurite)
    with pytest.raises(ChildError, match="EADDRINUSE"):
        async with emulator.running(None, emulator.Ports(blob=taken)):
            pass


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_the_command_stops_azurite_when_asked_to(how: signal.Signals, tmp_path: Path) -> None:
    async with started(tmp_path) as (process, azurite, _):
        process.send_signal(how)
        assert await process.wait() == 0
        await gone(azurite)


async def test_what_was_stored_just_before_its_parent_was_killed_is_there_after_a_restart_at_once(
    tmp_path: Path,
) -> None:
    async with started(tmp_path) as (process, azurite, connection):
        async with blob_client(connection) as blob:
            await blob.upload_blob(b"kept")
            process.kill()
            await process.wait()
        async with emulator.running(tmp_path) as second, blob_client(second.connection_string) as blob:
            assert await (await blob.download_blob()).readall() == b"kept"
        await gone(azurite)


async def test_azurite_is_killed_after_its_parent_when_it_does_not_end_by_itself(tmp_path: Path) -> None:
    async with started(tmp_path) as (process, azurite, connection), half_sent(blob_port(connection)):
        process.kill()
        await process.wait()
        await gone(azurite)


async def test_a_folder_that_a_living_azurite_has_is_refused(tmp_path: Path) -> None:
    async with emulator.running(tmp_path):
        with pytest.raises(ChildError, match="another Azurite runs on"):
            async with emulator.running(tmp_path):
                pass


async def test_a_half_sent_request_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    async with emulator.running(None) as running, half_sent(blob_port(running.connection_string)):
        await running.process.stop(grace=0.5)


def blob_port(connection: str) -> int:
    return int(connection.split("BlobEndpoint=http://127.0.0.1:")[1].split("/")[0])


@contextlib.asynccontextmanager
async def half_sent(port: int) -> AsyncIterator[None]:
    """A request that never ends, which has reached the emulator."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"PUT /devstoreaccount1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n")
    assert b" 100 " in await reader.readline()
    yield
    writer.close()


@contextlib.asynccontextmanager
async def blob_client(connection: str) -> AsyncIterator[BlobClient]:
    async with BlobServiceClient.from_connection_string(connection) as service:
        with contextlib.suppress(Exception):
            await service.create_container("kept")
        yield service.get_blob_client("kept", "blob")


@contextlib.asynccontextmanager
async def started(data: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, int, str]]:
    """`python -m devstack azurite`, ready, the process id of the Azurite below it, and how to connect."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "--data", str(data), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        assert line.startswith(b"azurite ready: DefaultEndpointsProtocol=http;")
        (below,) = psutil.Process(process.pid).children()
        yield process, below.pid, line.decode().partition("azurite ready: ")[2].strip()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def gone(pid: int) -> None:
    await eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, 60)
