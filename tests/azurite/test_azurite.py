"""The storage emulator: it serves the installed SDKs, keeps its data and never outlives its parent."""

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
from devstack.errors import SubprocessError
from tests.waiting import eventually


def command(data: Path) -> list[str]:
    """Return the command that runs Azurite with its data in a folder."""
    return [sys.executable, "-m", "devstack", "azurite", "--data", str(data)]


async def test_the_installed_sdks_can_use_blobs_queues_and_tables(azurite: str) -> None:
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


async def test_data_is_kept_across_a_restart(tmp_path: Path) -> None:
    async with emulator.running(tmp_path) as first, blob_client(first.connection_string) as blob:
        await blob.upload_blob(b"kept")
    async with emulator.running(tmp_path) as second, blob_client(second.connection_string) as blob:
        assert await (await blob.download_blob()).readall() == b"kept"


async def test_a_port_in_use_is_reported_with_azurites_output(azurite: str) -> None:
    port = blob_port(azurite)
    with pytest.raises(SubprocessError, match="EADDRINUSE"):
        async with emulator.running(None, emulator.Ports(blob=port)):
            pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_the_command_and_azurite(number: signal.Signals, tmp_path: Path) -> None:
    async with started(command(tmp_path)) as (process, azurite, _):
        process.send_signal(number)
        assert await process.wait() == 0
        await wait_until_gone(azurite)


async def test_data_is_kept_when_the_parent_is_killed(tmp_path: Path) -> None:
    async with started(command(tmp_path)) as (process, azurite, connection):
        async with blob_client(connection) as blob:
            await blob.upload_blob(b"kept")
            process.kill()
            await process.wait()
        async with emulator.running(tmp_path) as second, blob_client(second.connection_string) as blob:
            assert await (await blob.download_blob()).readall() == b"kept"
        await wait_until_gone(azurite)


async def test_a_hanging_azurite_is_killed_after_its_parent(tmp_path: Path) -> None:
    """The save grace of this Azurite is 1 second instead of 5."""
    program = f"from devstack import azurite; azurite.SAVE_GRACE_SECONDS = 1; azurite.command(Path({str(tmp_path)!r}))"
    short_grace = [sys.executable, "-c", f"from pathlib import Path; {program}"]
    async with started(short_grace) as (process, azurite, connection), incomplete_request(blob_port(connection)):
        process.kill()
        await process.wait()
        await wait_until_gone(azurite)


async def test_a_folder_of_a_running_azurite_is_rejected(tmp_path: Path) -> None:
    async with emulator.running(tmp_path):
        with pytest.raises(SubprocessError, match="another Azurite uses"):
            async with emulator.running(tmp_path):
                pass


async def test_an_incomplete_request_does_not_delay_the_stop(tmp_path: Path) -> None:
    async with emulator.running(None) as running, incomplete_request(blob_port(running.connection_string)):
        await running.process.stop(grace=0.5)


def blob_port(connection: str) -> int:
    return int(connection.split("BlobEndpoint=http://127.0.0.1:")[1].split("/")[0])


@contextlib.asynccontextmanager
async def incomplete_request(port: int) -> AsyncIterator[None]:
    """Send a request without its body, and keep the connection open until the block ends."""
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
async def started(argv: list[str]) -> AsyncIterator[tuple[asyncio.subprocess.Process, int, str]]:
    """Run the command. Yield its process, the process id of its Azurite and the connection string."""
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        assert line.startswith(b"azurite ready: DefaultEndpointsProtocol=http;")
        (azurite,) = psutil.Process(process.pid).children()
        yield process, azurite.pid, line.decode().partition("azurite ready: ")[2].strip()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def wait_until_gone(pid: int) -> None:
    await eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, 60)
